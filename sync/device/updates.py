"""What the device believes of a repository of updates, and how an artefact of it comes here: TUF by python-tuf, on a copy of the
metadata that replaces ours only once everything in it fits and is above the floor.

What is time here: the machine's clock, but never before this release was made nor before two persons last signed something. So a
clock that says 1970 strands nobody. Of one key alone no time is taken: whoever stole it could move it on until all is too old.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge import SECOND, Clock, LinesideError, log, to_disk

from ..updates.manifest import KINDS, SIGNED_AT, Manifest, UpdateRefused, manifest_of, parted
from . import download
from .floor import Floor, Floors
from .identity import keep_file
from .update_source import Absent, Source

BUILT = int(datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC).timestamp())
LIMITS = UpdaterConfig(
    max_delegations=8,
    root_max_length=65_536,
    timestamp_max_length=16_384,
    snapshot_max_length=65_536,
    targets_max_length=2**21,
)
LONG_AGO = datetime.datetime.fromtimestamp(0, datetime.UTC)


class Updates:
    """In `folder` (of the state) lie the root that was trusted first, the metadata and the store of artefacts; `floors` are above
    both. `takes` are the classes of this device. Methods block; they raise UpdateRefused, OSError and what the source does."""

    def __init__(self, folder: Path, floors: Floors, clock: Clock, takes: tuple[str, ...] = ()) -> None:
        self.folder, self._floors, self._clock, self._takes = folder, floors, clock, takes
        self._metadata, self._store = folder / "metadata", folder / "store"

    # Trust

    def trust(self, root: bytes) -> int:
        """Begin with this root (its bytes); its version. One that is trusted already stays: only its own keys name the next."""
        try:
            metadata: Metadata[Root] = Metadata.from_bytes(root)
            if not isinstance(metadata.signed, Root):
                raise exceptions.RepositoryError("it is no root")
            metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
        except exceptions.RepositoryError as error:
            raise UpdateRefused(f"that is no root to trust: {error}") from None
        first = self.folder / "root.json"
        if first.exists() and first.read_bytes() != root:
            hint = f"it goes on by itself to a newer root; for a new beginning move {self.folder} away"
            raise UpdateRefused("this device trusts another root already", hint=hint)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keep_file(first, root.decode())
        return metadata.signed.version

    def now(self, floor: Floor) -> datetime.datetime:
        seconds = max(self._clock.utc() // SECOND, BUILT, floor.time)
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

    # Metadata

    def refresh(self, source: Source, expired: bool = False) -> None:
        """Believe what is newest there, or raise and believe what was believed before. `expired`: somebody here agrees to a stick
        whose time is over; older than what was seen it may not be for that."""
        if expired and not source.offline:
            raise UpdateRefused("only a folder may be out of date, never the plane")
        with self.alone():
            floor, work = self._floors.load(), self.folder / "metadata.new"
            shutil.rmtree(work, ignore_errors=True)
            if self._metadata.exists():
                shutil.copytree(self._metadata, work, symlinks=True)
            work.mkdir(exist_ok=True)
            try:
                with _refused(source):
                    floor = self._look(work, source, floor, LONG_AGO if expired else self.now(floor))
                self._floors.keep(floor)
                self._exchange(work)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _look(self, work: Path, source: Source, floor: Floor, when: datetime.datetime) -> Floor:
        """The floor that this refresh leaves. The client reads the time itself; there is no other way to tell it."""
        updater = Updater(str(work), "metadata", fetcher=_Fetcher(source), config=LIMITS, bootstrap=self._first())
        updater._trusted_set.reference_time = when
        updater.refresh()
        root, snapshot = _read(work, "root", Root), _read(work, "snapshot", Snapshot)
        targets = _read(work, "targets", Targets)
        kinds = [kind for kind in KINDS if f"{kind}.json" in snapshot.meta]
        for kind in list(kinds):
            try:
                updater.get_targetinfo(f"{kind}/-")
            except exceptions.ExpiredMetadataError:  # one kind that nobody signs any more holds up no other
                log.warning("updates: nothing of kind %s is taken: what signs it is out of date", kind)
                kinds.remove(kind)
                (work / f"{kind}.json").unlink(missing_ok=True)
        roles = {
            role: (_read(work, role, Any).version, _keys(root, role)) for role in ("timestamp", "snapshot", "targets")
        }
        roles |= {kind: (_read(work, kind, Targets).version, _keys(targets, kind)) for kind in kinds}
        floor.check(root.version, roles)
        return floor.raised(Floor(root.version, roles, max(_signed_at(root), _signed_at(targets))))

    def _first(self) -> bytes:
        try:
            return (self.folder / "root.json").read_bytes()
        except FileNotFoundError:
            hint = "`lineside enroll` brings it, or `lineside update SITE --trust 1.root.json`"
            raise UpdateRefused("this device knows nobody whose updates it may take", hint=hint) from None

    def _exchange(self, work: Path) -> None:
        for path in [*(p for p in work.rglob("*") if not p.is_symlink()), work]:
            to_disk(path)
        old = self.folder / "metadata.old"
        shutil.rmtree(old, ignore_errors=True)
        if self._metadata.exists():
            self._metadata.replace(old)
        work.replace(self._metadata)  # cut before this, the next refresh begins at the first root, and the floor holds
        to_disk(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time; another is refused rather than waited for."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("ab") as line:
            try:
                fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UpdateRefused("another process is at the updates of this device", hint="wait for it") from None
            yield

    # Artefacts

    def artefacts(self) -> dict[str, TargetFile]:
        """What the metadata believed last offers, by name: of each kind what its own keys signed."""
        found: dict[str, TargetFile] = {}
        for kind in KINDS:
            if (self._metadata / f"{kind}.json").exists():
                signed = _read(self._metadata, kind, Targets).targets
                found |= {path: target for path, target in signed.items() if path.startswith(f"{kind}/")}
        return found

    def manifest(self, path: str) -> Manifest:
        """What is signed of an artefact that this device may take. Raises UpdateRefused."""
        target = self._target(path)
        manifest = manifest_of(path, target.custom, target.length)
        if manifest.fits and not set(manifest.fits) & set(self._takes):
            have = ", ".join(self._takes) or "none"
            hint = f"this device is of class {have}; see `sync: {{takes: [...]}}`"
            raise UpdateRefused(f"wrong device: {path} is for {', '.join(manifest.fits)}", hint=hint)
        return manifest

    def _target(self, path: str) -> TargetFile:
        kind, _, _ = parted(path)
        target = self.artefacts().get(path)
        if target is None:
            raise UpdateRefused(
                f"nobody signed {path}",
                hint=f"or the time of kind {kind} is over; `lineside update SITE` lists what there is",
            )
        if list(target.hashes) != ["sha256"]:
            raise UpdateRefused(f"{path} is signed with {', '.join(target.hashes)}; sha256 is taken alone")
        return target

    def bring(self, source: Source, path: str) -> Path:
        """The artefact, whole and as signed, in the store. What a break left of it is gone on with."""
        with self.alone():
            manifest, target = self.manifest(path), self._target(path)
            digest = target.hashes["sha256"]
            place = self._store / digest
            with contextlib.suppress(UpdateRefused, FileNotFoundError):
                return self.verified(path)
            self._store.mkdir(exist_ok=True, mode=0o700)
            part = self._store / f"{digest}.part"
            download.sweep(self._store, part, self._clock.utc() / SECOND)
            held = part.stat().st_size if part.exists() else 0
            download.raise_if_no_room(self._store, path, manifest.size, manifest.size - held)
            with _refused(source):
                download.fetch(source, path, part, target.length, digest)
            download.judge(part, digest, f"{path} was changed on this disk while it was written")
            part.replace(place)
            to_disk(self._store)
            return place

    def forget(self, digest: str) -> None:
        """An artefact whose digest begins so is needed no more. It comes again where it is wanted again."""
        for place in self._store.glob(f"{digest}*") if len(digest) >= 16 else ():
            place.unlink(missing_ok=True)

    def verified(self, path: str) -> Path:
        """Where an artefact lies, read once more from the disk. Raises UpdateRefused where it is no longer what was signed, and
        FileNotFoundError."""
        self.manifest(path)
        digest = self._target(path).hashes["sha256"]
        place = self._store / digest
        download.judge(place, digest, f"{path} was changed on this disk since it came")
        return place


class _Fetcher(FetcherInterface):
    """Metadata from a source, in pieces; how much of it is read, the client says."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        at, size = 0, 1
        while at < size:
            try:
                size, piece = self._source.read(url, at)
            except Absent as error:
                raise exceptions.DownloadHTTPError(str(error), 404) from None
            if not piece:
                return
            yield piece
            at += len(piece)


@contextlib.contextmanager
def _refused(source: Source) -> Iterator[None]:
    """What the client raises, in words that say which attack it would be."""
    try:
        yield
    except exceptions.UnsignedMetadataError as error:
        raise UpdateRefused(f"not signed by those this device trusts: {error}") from None
    except exceptions.ExpiredMetadataError as error:
        hint = "is the clock right? a stick may be taken with --expired" if source.offline else "is the clock right?"
        raise UpdateRefused(f"freeze: {error}; {source.name} has nothing newer", hint=hint) from None
    except exceptions.BadVersionNumberError as error:
        raise UpdateRefused(f"rollback or mix-and-match: {error}") from None
    except exceptions.LengthOrHashMismatchError as error:
        raise UpdateRefused(f"mix-and-match: {error}") from None
    except exceptions.DownloadLengthMismatchError as error:
        raise UpdateRefused(f"endless data: {error}") from None
    except exceptions.DownloadHTTPError as error:
        raise UpdateRefused(f"incomplete: {error}") from None
    except exceptions.DownloadError as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, LinesideError) else UpdateRefused(str(error))) from None
    except (exceptions.RepositoryError, ValueError) as error:
        raise UpdateRefused(f"the metadata does not fit together: {str(error)[:200]}") from None


def _read(folder: Path, role: str, kind: Any) -> Any:
    signed: Any = Metadata.from_file(str(folder / f"{role}.json")).signed
    assert kind is Any or isinstance(signed, kind)
    return signed


def _keys(delegator: Root | Targets, role: str) -> str:
    """Who signs for a role, as one word."""
    keyids = sorted(delegator.get_delegated_role(role).keyids)
    return hashlib.sha256(" ".join(keyids).encode()).hexdigest()[:16]


def _signed_at(signed: Root | Targets | Timestamp) -> int:
    """Seconds since 1970; 0 where it does not say, or says a time at which it was over already."""
    with contextlib.suppress(ValueError, TypeError):
        said = datetime.datetime.fromisoformat(str(signed.unrecognized_fields.get(SIGNED_AT)))
        if said.tzinfo and said <= signed.expires.replace(tzinfo=datetime.UTC):
            return int(said.timestamp())
    return 0
