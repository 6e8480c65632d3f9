"""The repository of updates as a folder: who may sign what, what is published, and what waits for a second signature.

Roles: `root` (2 of at least 3 keys, offline; the same keys hold `targets`, which says only who may sign each kind of artefact),
one role for each kind, and `online`, whose key signs `snapshot` and `timestamp` and nothing else.
"""

from __future__ import annotations

import datetime
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge import LinesideError

from .manifest import KINDS, MOST, Manifest, parted
from .role_files import RoleFiles, number

ROLES = ("root", *KINDS, "online")
THRESHOLD, LEAST_ROOT = 2, 3
DRAFTS = ("root", "targets")
Keys = Mapping[str, Sequence[SSlibKey]]


class Seen(NamedTuple):
    """The highest versions of the two that the online key signs which anybody may have been shown, and the SHA-256 of that
    timestamp."""

    timestamp: int = 0
    snapshot: int = 0
    digest: str = ""


class Repository:
    """Every method leaves a folder that can be served: what refers to others is written after them. They raise LinesideError and
    OSError."""

    def __init__(self, folder: Path, now: datetime.datetime | None = None) -> None:
        self.folder = folder
        self._files = RoleFiles(folder, (now or datetime.datetime.now(datetime.UTC)).replace(microsecond=0))

    # Who may sign

    def init(self, keys: Keys) -> None:
        """A draft of the first root. `keys`: those of each role."""
        if any((self.folder / name).exists() for name in ("metadata", "draft")):
            raise LinesideError(
                f"{self.folder} holds a repository already", hint="`lineside sign rotate` changes its keys"
            )
        if missing := [role for role in ROLES if not keys.get(role)]:
            raise LinesideError(f"no key for {', '.join(missing)}", hint="--role ROLE=FILE.pub, for each of the roles")
        self._draft(Root(consistent_snapshot=True), Targets(delegations=Delegations({}, {})), keys)

    def rotate(self, keys: Keys) -> None:
        """A draft of the next root, in which roles have these keys instead of theirs; without any it has but more time."""
        if drafts := list(self._files.drafts()):
            raise LinesideError(
                f"{drafts[0].name} still waits for signatures", hint="`lineside sign approve`, or delete it"
            )
        root, targets = self._files.current("root", Root), self._files.current("targets", Targets)
        self._draft(root.signed, targets.signed, keys)

    def _draft(self, root: Root, targets: Targets, keys: Keys) -> None:
        first, delegations = not root.roles["root"].keyids, targets.delegations
        assert delegations is not None and delegations.roles is not None
        for role, given in keys.items():
            if role in KINDS:
                delegations.roles[role] = DelegatedRole(role, [], 1, terminating=True, paths=[f"{role}/*"])
                for key in given:
                    targets.add_key(key, role)
            for name in {"root": ("root", "targets"), "online": ("snapshot", "timestamp")}.get(role, ()):
                root.roles[name].keyids = []
                for key in given:
                    root.add_key(key, name)
                root.roles[name].threshold = THRESHOLD if role == "root" else 1
        _tidy(root.keys, root.roles.values())
        _tidy(delegations.keys, delegations.roles.values())
        _apart(root, delegations)
        for name, signed in (("targets", targets), ("root", root)):
            signed.version = 1 if first else signed.version + 1
            self._files.write(self.folder / "draft" / f"{name}.json", Metadata(self._files.dated(signed, name)))

    # Signatures

    def approve(self, signer: CryptoSigner) -> list[str]:
        """Sign what this key is to sign: drafts, kinds whose keys changed or whose time is half over, and what is online. Returns
        what was done, in words."""
        done = [f"this signature is in the draft of {name}" for name in DRAFTS if self._sign_draft(name, signer)]
        done += self._settle()
        keyid = signer.public_key.keyid
        if self._files.newest("root"):
            root, targets = self._files.current("root", Root).signed, self._files.current("targets", Targets).signed
            for kind in KINDS:
                if keyid in targets.get_delegated_role(kind).keyids and self._wants(kind, targets):
                    self._publish(kind, self._kind(kind), signer)
                    done.append(f"{kind} is signed")
            if keyid in root.roles["timestamp"].keyids:
                self.refresh(signer)
                done.append("what is there is published")
        if not done:
            hint = "`lineside sign show` says what waits"
            raise LinesideError(f"there is nothing that key {keyid[:12]} is to sign", hint=hint)
        return done

    def _sign_draft(self, name: str, signer: CryptoSigner) -> bool:
        path, draft = self._waits(name)
        if draft is None or not any(signer.public_key.keyid in root.roles[name].keyids for root in self._judges(name)):
            return False
        draft.sign(signer, append=True)
        self._files.write(path, draft)
        return True

    def _settle(self) -> list[str]:
        """Drafts become what is served once all of them have their signatures."""
        waits = {name: self._waits(name) for name in DRAFTS}
        drafts = {name: draft for name, (_, draft) in waits.items() if draft is not None}
        for name, draft in drafts.items():
            try:
                for root in self._judges(name):
                    root.verify_delegate(name, draft.signed_bytes, draft.signatures)
            except UnsignedMetadataError:
                return [f"{name} needs more signatures"]
        for name, draft in drafts.items():
            self._files.write(self.folder / "metadata" / f"{draft.signed.version}.{name}.json", draft)
            waits[name][0].unlink()
        return [f"{name} {draft.signed.version} is signed" for name, draft in drafts.items()]

    def _waits(self, name: str) -> tuple[Path, Metadata[Any] | None]:
        path = self.folder / "draft" / f"{name}.json"
        return path, Metadata.from_file(str(path)) if path.exists() else None

    def _judges(self, name: str) -> list[Root]:
        """Who has a say in a draft: in a root, the one of now and itself; in targets, the one that is to come."""
        now = [self._files.current("root", Root).signed] if self._files.newest("root") else []
        _, draft = self._waits("root")
        roots = [*now, draft.signed] if draft else now
        return roots if name == "root" else roots[-1:]

    def _wants(self, kind: str, targets: Targets) -> bool:
        role = self._kind(kind)
        if not role.signatures:
            return True
        try:
            targets.verify_delegate(kind, role.signed_bytes, role.signatures)
        except UnsignedMetadataError:
            return True
        return self._files.late(role.signed, kind)

    # Artefacts

    def add(self, file: Path, path: str, fits: Sequence[str], signer: CryptoSigner) -> Manifest:
        """Publish a file as the artefact `path`, for devices of these classes, or of any."""
        kind, name, version = parted(path)
        manifest = Manifest(kind, name, version, file.stat().st_size, tuple(fits))
        if manifest.size > MOST[kind]:
            raise LinesideError(f"{file} has {manifest.size:,} bytes; at most {MOST[kind]:,} are taken of a {kind}")
        role = self._kind(kind)
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if path in role.signed.targets and role.signed.targets[path].hashes != {"sha256": digest}:
            raise LinesideError(f"{path} is published with other bytes", hint="give what changed a version of its own")
        place = self.folder / "targets" / kind / f"{digest}.{name}-{version}"
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(place.name + ".new")
        shutil.copyfile(file, fresh)
        fresh.replace(place)
        fields = {"custom": manifest.custom()}
        role.signed.targets[path] = TargetFile(manifest.size, {"sha256": digest}, path, fields)
        self._publish(kind, role, signer)
        return manifest

    def drop(self, path: str, signer: CryptoSigner) -> None:
        """Withdraw an artefact: no device takes it any more."""
        kind, _, _ = parted(path)
        role = self._kind(kind)
        if role.signed.targets.pop(path, None) is None:
            raise LinesideError(f"{path} is not published here", hint="`lineside sign show` lists what is")
        self._publish(kind, role, signer)

    def artefacts(self) -> Iterator[tuple[str, TargetFile]]:
        for kind in KINDS:
            yield from self._kind(kind).signed.targets.items()

    def _kind(self, kind: str) -> Metadata[Targets]:
        found = self._files.newest(kind)
        return Metadata.from_file(str(found)) if found else Metadata(Targets())

    def _publish(self, kind: str, role: Metadata[Targets], signer: CryptoSigner) -> None:
        targets = self._files.current("targets", Targets).signed
        if signer.public_key.keyid not in targets.get_delegated_role(kind).keyids:
            raise LinesideError(
                f"this key does not sign artefacts of kind {kind}", hint="`lineside sign show` says which do"
            )
        role.signed.version = role.signed.version + 1 if self._files.newest(kind) else 1
        self._files.dated(role.signed, kind)
        role.sign(signer)
        self._files.write(self.folder / "metadata" / f"{role.signed.version}.{kind}.json", role)

    # Online

    def refresh(self, signer: CryptoSigner, seen: Seen | None = None) -> None:
        """Say anew what is newest: a snapshot where something changed or its time is half over, and a timestamp; above what was
        `seen`, since the folder may have been copied over with an older state of the two."""
        path, folder, above = self._files.newest("snapshot"), self.folder / "metadata", seen or Seen()
        if path is None or number(path) < above.snapshot or self._changed(path):
            meta = self._meta()
            version = max(number(path) if path else 0, above.snapshot) + 1
            snapshot = Metadata(self._files.dated(Snapshot(version, meta=meta), "snapshot"))
            snapshot.sign(signer)
            path = folder / f"{version}.snapshot.json"
            self._files.write(path, snapshot)
        version = max(self.stands().timestamp, above.timestamp) + 1
        timestamp = Metadata(self._files.dated(Timestamp(version, snapshot_meta=_meta(path)), "timestamp"))
        timestamp.sign(signer)
        self._files.write(folder / "timestamp.json", timestamp)

    def stands(self) -> Seen:
        """What the folder shows now."""
        last, path = self.folder / "metadata" / "timestamp.json", self._files.newest("snapshot")
        snapshot = number(path) if path else 0
        if not last.exists():
            return Seen(0, snapshot)
        body = last.read_bytes()
        return Seen(Metadata[Timestamp].from_bytes(body).signed.version, snapshot, hashlib.sha256(body).hexdigest())

    def is_due(self, seen: Seen | None = None) -> bool:
        """Whether devices do not see what is newest, or not for long any more; or take it for older than what was `seen`."""
        last, path = self.folder / "metadata" / "timestamp.json", self._files.newest("snapshot")
        if path is None or not last.exists() or self._changed(path):
            return True
        now, above = self.stands(), seen or Seen()
        if now.snapshot < above.snapshot or (now.timestamp <= above.timestamp and now.digest != above.digest):
            return True
        timestamp: Metadata[Timestamp] = Metadata.from_file(str(last))
        told = timestamp.signed.snapshot_meta == _meta(path)
        return not told or self._files.late(timestamp.signed, "timestamp") or not self._by(timestamp, "timestamp")

    def _meta(self) -> dict[str, MetaFile]:
        found = {f"{role}.json": self._files.newest(role) for role in ("targets", *KINDS)}
        return {name: _meta(path) for name, path in found.items() if path}

    def _changed(self, path: Path) -> bool:
        snapshot: Metadata[Snapshot] = Metadata.from_file(str(path))
        late = self._files.late(snapshot.signed, "snapshot")
        return late or snapshot.signed.meta != self._meta() or not self._by(snapshot, "snapshot")

    def _by(self, metadata: Metadata[Any], role: str) -> bool:
        """Whether who may sign it now did."""
        try:
            root: Root = self._files.current("root", Root).signed
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError:
            return False
        return True

    # Files

    def status(self) -> Iterator[str]:
        """What there is, a line each."""
        for path in self._files.drafts():
            draft: Metadata[Any] = Metadata.from_file(str(path))
            yield f"draft of {path.stem} {draft.signed.version}: {len(draft.signatures)} signatures so far"
        for name in ("root", "targets", *KINDS, "snapshot"):
            if found := self._files.newest(name):
                signed: Signed = Metadata.from_file(str(found)).signed
                yield f"{name} {signed.version}, until {signed.expires:%Y-%m-%d}"
        for path_, target in self.artefacts():
            fits = ", ".join(target.custom["fits"]) or "any device"
            yield f"{path_}: {target.length:,} bytes, for {fits}"


def _meta(path: Path) -> MetaFile:
    return MetaFile.from_data(number(path), path.read_bytes(), ["sha256"])


def _tidy(keys: dict[str, Any], roles: Any) -> None:
    """No key stays that no role uses."""
    used = {keyid for role in roles for keyid in role.keyids}
    for keyid in set(keys) - used:
        del keys[keyid]


def _apart(root: Root, delegations: Delegations) -> None:
    """Raises LinesideError where one stolen key would be enough for more than it is for."""
    masters = set(root.roles["root"].keyids)
    if len(masters) < LEAST_ROOT:
        raise LinesideError(f"root has {len(masters)} different keys, at least {LEAST_ROOT} are needed")
    online = set(root.roles["timestamp"].keyids)
    assert delegations.roles is not None
    artefacts = {keyid for role in delegations.roles.values() for keyid in role.keyids}
    if masters & online or artefacts & online or masters & artefacts:
        raise LinesideError("a key stands in two of root, the kinds and online", hint="each of the three has its own")
