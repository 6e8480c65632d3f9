"""A repository of updates with its keys, as somebody makes it offline."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from sync.updates.manifest import KINDS
from sync.updates.repository import Keys, Repository

MASTERS = ("anna", "ben", "carl")


@dataclass
class Signers:
    """Who signs in `folder`; the first two of `masters` approve."""

    folder: Path
    masters: list[CryptoSigner] = field(default_factory=lambda: [CryptoSigner.generate_ed25519() for _ in MASTERS])
    kinds: dict[str, CryptoSigner] = field(default_factory=lambda: {k: CryptoSigner.generate_ed25519() for k in KINDS})
    online: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    now: datetime.datetime | None = None

    @property
    def repository(self) -> Repository:
        return Repository(self.folder, self.now)

    def keys(self) -> Keys:
        found = {kind: [signer.public_key] for kind, signer in self.kinds.items()}
        return found | {"root": [one.public_key for one in self.masters], "online": [self.online.public_key]}

    def begin(self) -> Signers:
        self.repository.init(self.keys())
        return self.approved()

    def approved(self, *before: CryptoSigner) -> Signers:
        """By the masters of now, and those of before; then whatever else is to be signed."""
        for signer in (*before, *self.masters[:2]):
            self.repository.approve(signer)
        for signer in self.kinds.values():
            self.repository.approve(signer) if self.lacks(signer) else None
        self.repository.approve(self.online)
        return self

    def lacks(self, signer: CryptoSigner) -> bool:
        kind = next(kind for kind, one in self.kinds.items() if one is signer)
        targets = self.repository._files.current("targets", object).signed
        return self.repository._wants(kind, targets)

    def add(self, path: str, body: bytes, fits: Sequence[str] = (), publish: bool = True) -> None:
        file = self.folder.parent / "artefact"
        file.write_bytes(body)
        self.repository.add(file, path, fits, self.kinds[path.partition("/")[0]])
        if publish:
            self.repository.approve(self.online)

    def rotate(self, *roles: str) -> None:
        """New keys for these roles; the old masters agree."""
        old = self.masters[:2]
        for role in roles:
            if role == "root":
                self.masters = [CryptoSigner.generate_ed25519() for _ in MASTERS]
            elif role == "online":
                self.online = CryptoSigner.generate_ed25519()
            else:
                self.kinds[role] = CryptoSigner.generate_ed25519()
        keys = self.keys()
        self.repository.rotate({role: keys[role] for role in roles})
        self.approved(*(old if "root" in roles else ()))

    def drop(self, path: str) -> None:
        self.repository.drop(path, self.kinds[path.partition("/")[0]])
