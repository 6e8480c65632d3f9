"""What is signed of each artefact besides its bytes, and how the folder of a repository is laid out.

A repository is a plain folder that a plane serves and a USB stick carries: `metadata/` (TUF), `targets/KIND/DIGEST.NAME-VERSION`,
and `draft/`, which waits for signatures and is served to nobody.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from edge import LinesideError

KINDS = ("model", "config", "runtime", "firmware")
FORMAT = 1
MB = 10**6
MOST = {"model": 1000 * MB, "config": 16 * MB, "runtime": 1000 * MB, "firmware": 8000 * MB}  # bytes of an artefact
NAME = r"[a-z0-9][a-z0-9_.]{0,63}"
VERSION = r"[0-9][0-9A-Za-z.+_]{0,31}"
CLASS = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")
PATH = re.compile(rf"({'|'.join(KINDS)})/({NAME})-({VERSION})")
SERVED = re.compile(
    rf"metadata/(?:[1-9][0-9]{{0,9}}\.)?(?:root|timestamp|snapshot|targets|{'|'.join(KINDS)})\.json"
    rf"|targets/(?:{'|'.join(KINDS)})/[0-9a-f]{{64}}\.{NAME}-{VERSION}"
)
SIGNED_AT = "x-lineside-signed"  # in each metadata: when it was signed, by the clock of who signed it


class UpdateRefused(LinesideError):
    """An update, or what is said of it, that this device does not take. What runs goes on."""

    heals = True


class Unusable(UpdateRefused):
    """Signed, and no such thing: it stays so."""

    heals = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """`fits` are the classes of devices it is for; none: any."""

    kind: str
    name: str
    version: str
    size: int
    fits: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Its name in the repository."""
        return f"{self.kind}/{self.name}-{self.version}"

    def custom(self) -> dict[str, Any]:
        """As it stands in the signed metadata."""
        return {"format": FORMAT, **asdict(self), "fits": list(self.fits)}


def parted(path: str) -> tuple[str, str, str]:
    """(kind, name, version) of an artefact's name. Raises LinesideError."""
    found = PATH.fullmatch(path)
    if found is None:
        hint = f"KIND/NAME-VERSION as in model/washer-3, with KIND one of {', '.join(KINDS)}; small letters, no hyphen"
        raise LinesideError(f"{path[:100]!r} is no name of an artefact", hint=hint)
    return found[1], found[2], found[3]


def manifest_of(path: str, custom: Any, size: int) -> Manifest:
    """What is signed of the artefact of that name and size (bytes). Raises UpdateRefused where the two do not agree."""
    kind, name, version = parted(path)
    said = custom if isinstance(custom, dict) else {}
    if said.get("format") != FORMAT:
        raise UpdateRefused(f"{path}: its manifest has format {str(said.get('format'))[:20]}, here {FORMAT} is known")
    fits = said.get("fits")
    if not isinstance(fits, list) or not all(isinstance(one, str) and CLASS.fullmatch(one) for one in fits):
        raise UpdateRefused(f"{path}: its manifest does not say which devices it is for")
    manifest = Manifest(kind, name, version, size, tuple(fits))
    known = manifest.custom()
    if wrong := sorted(key for key in known if said.get(key) != known[key]):
        raise UpdateRefused(f"{path}: its manifest is of another artefact ({', '.join(wrong)} differ)")
    if more := sorted(set(said) - set(known)):
        raise UpdateRefused(f"{path}: its manifest asks for what is not known here: {', '.join(more)[:80]}")
    if size > MOST[kind]:
        raise UpdateRefused(f"{path} has {size:,} bytes; at most {MOST[kind]:,} are taken of a {kind}")
    return manifest
