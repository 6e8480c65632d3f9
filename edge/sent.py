"""The site that was sent here, and runs in place of the person's own file. That file is never written to: who edits it later has a
draft, which runs when it is applied here, and not before.

`site/` in the state folder holds each document that was sent and not given up, as VERSION.yaml, and `stands.json`: which one runs,
which one is on trial, and how the last trial ended. Whatever is cut off in the middle, at the next start the site runs that had
proved itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .apply import RolledBack, exchange
from .config.dump import written
from .config.layers import changes, document, laid, parted
from .config.load import load, load_text
from .config.places import Tree, read_kept
from .config.site import Config
from .errors import ConfigFault, LinesideError
from .log import log

if TYPE_CHECKING:
    from .app import Daemon

TRIAL = 10.0  # seconds; longer for slow sources
FOLDER, STANDS = "site", "stands.json"
MOST_FAULTS = 20


class Ended(NamedTuple):
    """How it ended what was wanted with this generation: running, rolled_back or refused, and why."""

    generation: int = 0
    version: str = ""
    state: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Stands:
    """`last` is the version that ran last, `base` the digest of what the person's file said when that took its place, or when
    it was last said that it stays."""

    running: str = ""
    last: str = ""
    trying: str = ""
    generation: int = 0  # of `trying`
    base: str = ""
    ended: Ended = field(default_factory=Ended)


class Busy(LinesideError):
    """The folder cannot be written to."""

    heals = True


class Sent:
    """Of one device: `state` is its folder, `own` the file that a person keeps."""

    def __init__(self, state: Path, own: Path) -> None:
        self.folder, self.own = state / FOLDER, own
        self.stands = self._read()
        self.running = ""  # the version of what was sent and runs; "" where the person's own file does
        self.trouble = ""  # why that is not what should run
        self._said: tuple[list[Any], list[Path], str] | None = None
        self._task: asyncio.Task[Ended] | None = None

    def begin(self) -> None:
        """At the start, for who owns the journal: a trial that was cut off is over."""
        if self.stands.trying:
            reason = "it was cut off in the middle of its trial; what ran before runs"
            ended = Ended(self.stands.generation, self.stands.trying, "rolled_back", reason)
            log.warning("site %s: %s", self.stands.trying, reason)
            self.stands = replace(self.stands, trying="", ended=ended)
            self._write_anyhow()

    def site(self, text: str) -> Config:
        """What was sent, with what belongs to the device. Its faults are the site's."""
        sent, (own, rest) = read(text), parted(_mapping(read_kept(self.own)))
        for section in own:  # of what the document says nothing at all, all stays
            own[section] = own[section] if section in sent.data else own[section] | rest.get(section, {})
        config = load_text(written(laid([sent, Tree(data=own)]).data), str(self.own))
        config.problems += sent.problems
        return config

    def chosen(self, own: Config) -> Config:
        """The site to start with: what was sent and ran, or the person's own. Blocks."""
        version = self.stands.running
        if not version:
            return own
        try:
            config = self._kept(version, own)
        except OSError as error:
            self.trouble = f"what was sent cannot be read: {error.strerror}"
        else:
            if config is not own and not config.problems:
                log.info("%s runs, which was sent; `lineside apply %s` runs what stands there", version, self.own)
                self.running = version
                return config
            for problem in config.problems[:1]:
                self.trouble = f"what was sent cannot run here: {'.'.join(map(str, problem.path))}: {problem.message}"
        if not own.problems and not takes(own):
            self.trouble = f"{self.own.name} does not allow any more that a site is sent"
        log.error("site %s: %s; %s runs", version, self.trouble, self.own)
        return own

    def _kept(self, version: str, own: Config) -> Config:
        if own.tree.data is None and own.problems:  # nobody can read the person's file: the device as it was
            log.error("%s", own.problems[0])
            return load_text((self.folder / f"{version}.site.yaml").read_text("utf-8"), str(self.own))
        if not own.problems and not takes(own):
            return own
        return self.site((self.folder / f"{version}.yaml").read_text("utf-8"))

    # Changes

    async def take(self, daemon: Daemon, generation: int, version: str, text: str | None) -> Ended:
        """Try a document that was sent, with None the person's own file, and keep it or not. Goes on though who asked is gone, as
        when the change ends it. Raises what heals: nothing was tried then."""
        while self.stands.ended.generation != generation:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._take(daemon, generation, version, text), name="site on trial")
            await asyncio.shield(self._task)
        return self.stands.ended

    async def _take(self, daemon: Daemon, generation: int, version: str, text: str | None) -> Ended:
        async with daemon.changing:
            base, running = await asyncio.to_thread(self.base), self.running
            try:
                config = await asyncio.to_thread(self._config, text)
                if text is not None:
                    self._keep(version, text)
                self._write(replace(self.stands, trying=version or self.own.name, generation=generation))
                await exchange(daemon, config, version or self.own.name, TRIAL, unattended=True)
                ended, running = Ended(generation, version, "running"), version
            except RolledBack as error:
                ended = Ended(generation, version, "rolled_back", error.args[0].removeprefix("rolled back: "))
            except LinesideError as error:
                if error.heals:
                    self.stands = replace(self.stands, trying="")
                    self._write_anyhow()
                    raise
                ended = Ended(generation, version, "refused", str(error))
            stands = replace(self.stands, trying="", ended=ended)
            if ended.state == "running":
                stands = replace(stands, running=version, last=version, base=base)
            self._write(stands)
            self.running, self.trouble = running, ""
            self._sweep()
        return ended

    def _config(self, text: str | None) -> Config:
        config = load(self.own) if text is None else self.site(text)
        if config.problems:
            some = [f"{'.'.join(map(str, p.path))}: {p.message}" for p in config.problems[:MOST_FAULTS]]
            raise ConfigFault("; ".join(some))
        if text is not None and "drivers" not in read(text).data and _mapping(read_kept(self.own)).get("drivers"):
            hint = "a document is the whole site; write `drivers: {}` where that is meant"
            raise ConfigFault("it says no `drivers`: all that is read here would end", hint=hint)
        return config

    def left(self) -> None:
        """A person applied a site here: it runs in place of what was sent, also after a restart."""
        if self.stands.running:
            self.stands = replace(self.stands, running="")
            self._write_anyhow()
        self.running = self.trouble = ""

    def settle(self, generation: int) -> Ended:
        """What is wanted runs already. What the person's file says by now is left."""
        ended = Ended(generation, self.running, "running")
        self._write(replace(self.stands, base=self.base(), ended=ended))
        return ended

    def close(self) -> None:
        """Whatever is on trial is over; the next start says so."""
        if self._task is not None:
            self._task.cancel()

    # The person's own file

    def base(self) -> str:
        """What it says, as a digest; comments and what belongs to the device left out."""
        return hashlib.sha256(self.own_document().encode()).hexdigest()

    def own_document(self) -> str:
        """What of it could be sent here; "" where it cannot be read."""
        if self._said is None or self._said[0] != _stamps(self._said[1]):
            tree = read_kept(self.own)
            files = [self.own, *tree.files]
            self._said = _stamps(files), files, "" if tree.problems else written(parted(_mapping(tree))[1])
        return self._said[2]

    def draft(self) -> str | None:
        """What it says where that is a draft: edited since something else runs, or applied here in place of what was sent."""
        if not self.stands.last or (self.running and self.base() == self.stands.base):
            return None
        return self.own_document() or None

    def drift(self, draft: str) -> list[str]:
        """What a draft would change of what was sent last, a line for each value."""
        last = self.folder / f"{self.stands.last}.yaml"
        return list(changes(read(last.read_text("utf-8")).data if last.is_file() else {}, read(draft).data))

    # The folder

    def _keep(self, version: str, text: str) -> None:
        own = Tree(data=parted(_mapping(read_kept(self.own)))[0])
        self._put(f"{version}.yaml", text)
        self._put(f"{version}.site.yaml", written(laid([read(text), own]).data))

    def _sweep(self) -> None:
        for path in self.folder.glob("*.yaml"):
            if path.name.removesuffix(".yaml").removesuffix(".site") != self.stands.last:
                path.unlink(missing_ok=True)

    def _read(self) -> Stands:
        try:
            said = json.loads((self.folder / STANDS).read_text("utf-8"))
            return Stands(**{**said, "ended": Ended(*said["ended"])})
        except FileNotFoundError:
            return Stands()
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("%s says nothing: %s; the person's own site runs", self.folder / STANDS, error)
            return Stands()

    def _write(self, stands: Stands) -> None:
        self._put(STANDS, json.dumps(asdict(stands)))
        self.stands = stands

    def _write_anyhow(self) -> None:
        """What is so already."""
        try:
            self._write(self.stands)
        except Busy as error:
            log.error("%s; it is forgotten at the next start", error)

    def _put(self, name: str, text: str) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _replace(self.folder / name, text)
        except OSError as error:
            raise Busy(f"{self.folder} cannot be written to: {error.strerror}", hint="free some space") from None


def takes(config: Config) -> bool:
    """Whether a site says that another one may be sent."""
    return any(getattr(section, "takes_a_site", False) for section in config.sections.values())


def _stamps(files: list[Path]) -> list[Any]:
    """What changes when one of these is written."""
    return [(found.st_mtime_ns, found.st_size, found.st_ino) if (found := _stat(file)) else None for file in files]


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


def read(text: str) -> Tree:
    return document(text, "sent")


def _mapping(tree: Tree) -> dict[str, Any]:
    return tree.data if isinstance(tree.data, dict) else {}


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, and on the disk."""
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
    line = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(line)
    finally:
        os.close(line)
