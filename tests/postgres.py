"""A real PostgreSQL of our own: no port, a socket in a temporary folder. It does not run as root: then as the user `postgres`."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER = "postgres"


def absent() -> str:
    """What is missing here, or nothing."""
    if not _program("initdb"):
        return "PostgreSQL is not installed"
    if os.geteuid() == 0 and OWNER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"PostgreSQL does not run as root, and there is no user {OWNER}"
    return ""


class Postgres:
    """`start()` and `stop()` it as often as wanted: what it holds stays."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        if os.geteuid() == 0:
            shutil.chown(folder, OWNER)
        given = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"--username={OWNER}")
        self._run("initdb", *given, "--pgdata", str(folder / "data"))

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        user = OWNER if os.geteuid() == 0 else None
        with (self.folder / "log").open("ab") as out:
            return subprocess.Popen(
                [_program(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd=self.folder,
            )

    def _run(self, program: str, *arguments: str) -> None:
        if code := self._start(program, *arguments).wait():
            raise RuntimeError(f"{program} ended with {code}: {(self.folder / 'log').read_text()[-1000:]}")

    def start(self) -> None:
        options = ["-c", "listen_addresses=", "-k", str(self.folder), *(f"-c{option}" for option in self.options)]
        self._process = self._start("postgres", "-D", str(self.folder / "data"), *options)
        end = time.monotonic() + 30
        while self._start("pg_isready", "-q", "-h", str(self.folder), "-U", OWNER).wait():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not answer: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as after a crash: what was committed is in its log."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(30)
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def address(self, database: str) -> str:
        return f"postgresql://{OWNER}@/{database}?host={self.folder}"

    def database(self, given: str = "") -> str:
        """The name of a fresh one; `given`: what else stands in the statement."""
        self._made += 1
        name = f"plane{self._made}"
        self._say(f"CREATE DATABASE {name} {given}")
        return name

    def drop(self, database: str) -> None:
        self._say(f"DROP DATABASE {database} WITH (FORCE)")

    def _say(self, statement: str) -> None:
        """Over a connection of its own: programs that do this take three times as long."""
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running(*options: str) -> Iterator[Postgres]:
    """One that runs, for as long as it is wanted."""
    with tempfile.TemporaryDirectory(prefix="pg") as name:  # short: the path of a socket has at most 107 bytes
        server = Postgres(Path(name), *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _program(name: str) -> str:
    """Where a program of PostgreSQL is; Debian keeps them out of the way, one folder for each version."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(kept[-1]) if kept else shutil.which(name) or ""
