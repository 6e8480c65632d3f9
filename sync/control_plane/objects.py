"""Where pictures lie in the long run: in the database, in a folder, or at an S3 server (AWS, MinIO, Ceph, Garage ...).

Pictures always come into the database, and are acknowledged there. A worker then moves them out, so that no device waits for
a store, and one that is away only makes the database grow. The name of an object is its SHA-256 and eight letters by chance: none
is ever written twice, so that forgetting an old one never takes away one that came anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import urlsplit

import urllib3

from edge import LinesideError

TIMEOUT = 20.0  # seconds without a byte
NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}-[0-9a-f]{8}")
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class ObjectsFault(LinesideError):
    """The object store does not answer, or says no; the pictures stay where they are."""

    heals = True


class Objects(Protocol):
    """All of it blocks. Raises ObjectsFault."""

    def put(self, name: str, body: bytes) -> None:
        """Returns when it is there to stay."""

    def get(self, name: str, at: int = 0, most: int | None = None) -> tuple[int, bytes]:
        """(size of all of it, bytes from `at` on, at most so many)."""

    def drop(self, name: str) -> None:
        """Also where it is not there."""

    def store(self, name: str, file: BinaryIO) -> None:
        """All of a file, in place of what has this name, in one piece; returns when it is there to stay. The folder has to be
        there, as a bucket has: a disk that is not mounted is none."""


def name_of(digest: str) -> str:
    return f"{digest[:2]}/{digest}-{secrets.token_hex(4)}"


class Address(NamedTuple):
    """Of a bucket, or what begins with `prefix` in it."""

    tls: bool
    host: str  # with its port
    bucket: str
    prefix: str


def address_of(url: str) -> Address | None:
    """What an https://HOST/BUCKET[/PREFIX] says; None where it is none."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if not good or not bucket or parts.query or parts.fragment or parts.username is not None:
        return None
    return Address(parts.scheme == "https", parts.netloc, bucket, f"{prefix}/" if prefix else "")


def at(address: str, key: Path | None = None) -> Objects:
    """The store at an address: a folder, or https://HOST/BUCKET[/PREFIX]; `key` is a file with its key and its secret, a line each,
    else they are in the environment. Raises LinesideError."""
    if "://" not in address:
        return Folder(Path(address).absolute())
    if (there := address_of(address)) is None:
        hint = "a folder, or https://s3.example/BUCKET; its key goes into a file, see --objects-key"
        raise LinesideError("what was given as the store of objects is no address", hint=hint)
    words = key.read_text().split() if key else [os.environ.get(name, "") for name in SECRETS]
    if len(words) != 2 or not all(words):
        where = f"{key} has not two lines" if key else f"{' and '.join(SECRETS)} are not set"
        raise LinesideError(f"no key for {there.host}: {where}", hint="the first is the key, the second its secret")
    return S3(there, (words[0], words[1]))


class Folder:
    """Files in a folder, for their owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, body: bytes) -> None:
        file = self._folder / name
        with self._told():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = file.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(file)
            for folder in (file.parent, self._folder):
                _settled(folder)

    def get(self, name: str, at: int = 0, most: int | None = None) -> tuple[int, bytes]:
        with self._told(), (self._folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(at)
            return size, file.read(size if most is None else most)

    def drop(self, name: str) -> None:
        file = self._folder / name
        with self._told():
            for one in (file, file.with_suffix(".new")):  # of a put that was killed
                one.unlink(missing_ok=True)

    def store(self, name: str, file: BinaryIO) -> None:
        place = self._folder / name
        fresh = place.with_suffix(".new")
        with self._told():
            if not self._folder.is_dir():
                raise ObjectsFault(f"there is no folder {self._folder}", hint="make it, or mount its disk")
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)  # of one that was killed, or is frozen and must not write into ours
            with fresh.open("xb") as out:
                file.seek(0)
                shutil.copyfileobj(file, out)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(place)
            for folder in place.parents[: len(Path(name).parents)]:
                _settled(folder)

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            yield
        except OSError as error:
            raise ObjectsFault(f"the folder of objects {self._folder}: {error.strerror}") from None


def _settled(folder: Path) -> None:
    line = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(line)
    finally:
        os.close(line)


class S3:
    """A bucket, or a part of it."""

    def __init__(self, there: Address, key: tuple[str, str]) -> None:
        try:
            from minio import Minio
        except ImportError as error:
            raise LinesideError(f"S3 needs minio: {error}", hint="pip install 'lineside[s3]'") from None
        self._at, self._bucket, self._prefix = f"{there.host}/{there.bucket}", there.bucket, there.prefix
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(TIMEOUT), retries=False, cert_reqs="CERT_REQUIRED", maxsize=4
        )
        self._client = Minio(there.host, access_key=key[0], secret_key=key[1], secure=there.tls, http_client=pool)

    def put(self, name: str, body: bytes) -> None:
        with self._told():
            self._client.put_object(
                bucket_name=self._bucket, object_name=self._prefix + name, data=io.BytesIO(body), length=len(body)
            )

    def get(self, name: str, at: int = 0, most: int | None = None) -> tuple[int, bytes]:
        place: dict[str, Any] = {"bucket_name": self._bucket, "object_name": self._prefix + name}
        with self._told():
            size = int(self._client.stat_object(**place).size or 0)
            length = max(0, size - at if most is None else min(most, size - at))
            if not length:
                return size, b""
            answer = self._client.get_object(**place, offset=at, length=length)
            try:
                return size, answer.read()
            finally:
                answer.close()
                answer.release_conn()

    def store(self, name: str, file: BinaryIO) -> None:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        place: dict[str, Any] = {"bucket_name": self._bucket, "object_name": self._prefix + name}
        with self._told():
            self._client.put_object(**place, data=file, length=size)

    def drop(self, name: str) -> None:
        with self._told():
            self._client.remove_object(bucket_name=self._bucket, object_name=self._prefix + name)

    @contextlib.contextmanager
    def _told(self) -> Any:
        from minio.error import MinioException

        try:
            yield
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            why = getattr(error, "code", None) or " ".join(str(error).split())[:200]
            raise ObjectsFault(f"the store of objects at {self._at}: {why}") from None
