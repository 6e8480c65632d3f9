"""Models that the plane wants: proved here, then in shadow beside the one that runs or on trial in its place. `current` leads to
another one only after its trial, so that whatever ends this process, the next start runs the one that did well."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge import CANDIDATE, CURRENT, PREVIOUS, Host, LinesideError, NewModel, led_to, log, model_home, version_of

from ..either import either
from ..updates.manifest import UpdateRefused
from .identity import keep_file
from .twin import Meanwhile, Tell, Want
from .twin_updates import Brought

if TYPE_CHECKING:
    from .install import Models

LOOK = 5.0  # seconds between two looks at whether the stages are still those that were told
TURN = 2  # looks after which others have their turn beside a trial
PATIENCE = 180  # looks after which a trial whose parts do not come is told as waiting
MOST_STARTS = 3  # of the daemon, during one trial
NOBODY = "no stage says `model: updates:{0}`; one that names its folder takes it at the next apply"
TRIED, BESIDE = "tried", "beside"  # files: what is on trial and how often it was begun; what is in shadow


@dataclass
class Asked:
    """One stage that was given a model, and what it said of it."""

    stage: Any
    state: str = ""
    reason: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, state: str, reason: str, _: dict[str, Any]) -> None:
        self.state, self.reason = state, reason
        self.news.set()


@dataclass
class Trial:
    """What is on trial, who was asked, and how often somebody looked."""

    version: str
    place: Path
    asked: dict[str, Asked]
    looks: int = 0


class ModelHandler:
    """`keep` runs beside the calls: a shadow goes on after a restart and after each exchange of the site, without any plane."""

    def __init__(self, host: Host, brought: Brought) -> None:
        self._host, self._brought = host, brought
        self._beside: dict[str, dict[str, Asked]] = {}  # stages with a shadow, by model and stage
        self._tells: dict[str, Tell] = {}
        self._trials: dict[str, Trial] = {}  # by model
        self._busy = asyncio.Lock()

    def running(self, name: str) -> str:
        return version_of(self._home(name) / CURRENT)

    def _home(self, name: str) -> Path:
        return model_home(self._host.folder, name)

    def _users(self, name: str) -> dict[str, Any]:
        """The stages that run this model, by name."""
        return {called: stage for called, stage in self._host.flow.stages if getattr(stage, "model", "") == name}

    async def _models(self) -> Models:
        from .install import Models

        return Models(await self._brought.updates())

    async def __call__(self, want: Want, tell: Tell) -> None:
        """See `twin.Handler`."""
        async with self._busy:
            if not want.version:
                await self._dropped(want.name)
                return tell("running", "nothing else is wanted; what runs goes on")
            if want.version == self.running(want.name):
                await self._dropped(want.name)
                return tell("running", "runs already")
            if trial := self._trials.get(want.name):
                if (trial.version, "run") == (want.version, want.stage):
                    return await self._tried(want, tell)
                await self._dropped(want.name)  # also where the other one cannot be had yet
            await self._brought(want, tell)
            tell("trying", "its golden vectors run")
            models = await self._models()
            place = await asyncio.to_thread(models.place, f"{want.kind}/{want.name}-{want.version}")
            if want.stage == "shadow":
                await self._shadow(want, place, tell)
            else:
                await self._run(want, place, tell, models)

    async def _dropped(self, name: str) -> None:
        """Neither in shadow nor on trial any more."""
        self._forget(name)
        for called in self._users(name):
            self._host.flow.tell(called, NewModel("", None, "none", _ignored))
        if led_to(self._home(name) / CANDIDATE):
            await asyncio.to_thread((await self._models()).drop, name)

    def _forget(self, name: str) -> None:
        for known in (self._beside, self._tells, self._trials):
            known.pop(name, None)
        for file in (TRIED, BESIDE):
            (self._home(name) / file).unlink(missing_ok=True)

    async def _give(self, want: Want, place: Path, use: str, called: str, stage: Any) -> Asked:
        """A stage has it now, proved by the stage itself and measured."""
        judges = await asyncio.to_thread(stage.prepared, place)
        asked = Asked(stage)
        self._host.flow.tell(called, NewModel(want.version, judges, use, asked.tell))
        return asked

    # Shadow

    async def _shadow(self, want: Want, place: Path, tell: Tell) -> None:
        if not self._users(want.name):
            hint = f"write `model: updates:{want.name}` in a stage `inspect`"
            raise LinesideError(f"no stage of this site runs the model {want.name}", hint=hint)
        if not self.running(want.name):
            hint = "let one run first"
            raise LinesideError(
                f"no version of {want.name} runs here that another one could be compared with", hint=hint
            )
        self._forget(want.name)
        try:
            await self._beside_all(want, place)
        except Exception:
            await self._dropped(want.name)
            raise
        keep_file(self._home(want.name) / BESIDE, json.dumps(want))
        self._tells[want.name] = tell
        tell("shadow", "; ".join(asked.reason for asked in self._beside[want.name].values()))

    async def _beside_all(self, want: Want, place: Path) -> None:
        """Each stage that runs the model has the other one in shadow; those that have it already are left alone."""
        known = self._beside.setdefault(want.name, {})
        for called, stage in self._users(want.name).items():
            if called not in known or known[called].stage is not stage:
                known[called] = await self._give(want, place, "shadow", called, stage)

    async def keep(self) -> None:
        """For as long as the uplink runs: shadows of before are there again, and the plane hears how they stand."""
        for file in self._home("x").parent.glob(f"*/{BESIDE}"):
            self._tells.setdefault(file.parent.name, _ignored)
        while True:
            for name in list(self._tells):
                if not self._busy.locked():
                    async with self._busy:
                        await self._look(name)
            await asyncio.sleep(LOOK)

    async def _look(self, name: str) -> None:
        place = led_to(self._home(name) / CANDIDATE)
        try:
            want = Want(*json.loads((self._home(name) / BESIDE).read_text()))
        except (OSError, ValueError, TypeError):
            return self._forget(name)
        if place is None:
            return self._forget(name)
        try:
            await self._beside_all(want, place)
        except Exception as error:  # the engines' errors share no base
            log.warning("%s %s is not in shadow any more: %s", want.key, want.version, error)
            self._tells[name]("rolled_back", f"it is not in shadow any more: {error}")
            return self._forget(name)
        for asked in self._beside[name].values():
            if asked.news.is_set():
                asked.news.clear()
                self._tells[name]("shadow", asked.reason)

    # Run

    async def _run(self, want: Want, place: Path, tell: Tell, models: Models) -> None:
        self._forget_shadow(want.name)
        users = self._users(want.name)
        if not users:
            await asyncio.to_thread(models.use, place)
            return tell("running", NOBODY.format(want.name))
        if place == led_to(place.parent / PREVIOUS):
            for called, stage in users.items():
                await self._back(place, called, stage)
            await asyncio.to_thread(models.use, place)
            return tell("running", "it ran here before, and is back without a trial")
        try:
            self._begun(want)
            asked = {called: await self._give(want, place, "run", called, stage) for called, stage in users.items()}
        except Exception:
            await self._dropped(want.name)
            raise
        self._trials[want.name] = Trial(want.version, place, asked)
        await self._tried(want, tell)

    async def _tried(self, want: Want, tell: Tell) -> None:
        """To the end of its trial; called again where that lasts."""
        trial = self._trials[want.name]
        try:
            state, reason = await self._ended(want, trial, tell)
        except (Meanwhile, UpdateRefused):
            raise  # it is on trial all the while
        except Exception:
            await self._dropped(want.name)
            raise
        if state == "running":
            await asyncio.to_thread((await self._models()).use, trial.place)
            self._trials.pop(want.name)
            (self._home(want.name) / TRIED).unlink(missing_ok=True)
        else:
            await self._returned(want.name)
        tell(state, reason)

    def _forget_shadow(self, name: str) -> None:
        self._beside.pop(name, None)
        self._tells.pop(name, None)
        (self._home(name) / BESIDE).unlink(missing_ok=True)

    def _begun(self, want: Want) -> None:
        """Counted before anything is tried: one that takes the daemon along is not tried for ever."""
        file, starts = self._home(want.name) / TRIED, 0
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(file.read_text())
            starts = int(said["starts"]) if said["generation"] == want.generation else 0
        if starts >= MOST_STARTS:
            raise LinesideError(f"the daemon ended {starts} times while it was on trial")
        keep_file(file, json.dumps({"generation": want.generation, "starts": starts + 1}))

    async def _ended(self, want: Want, trial: Trial, tell: Tell) -> tuple[str, str]:
        """How the trial ended in all stages. One whose stage was built anew meanwhile begins again. Raises Meanwhile, and
        UpdateRefused where the parts do not come."""
        asked = trial.asked
        for _ in range(TURN):
            for one in asked.values():
                if one.state == "rolled_back":
                    return one.state, one.reason
                if one.news.is_set() and one.state == "trying":
                    one.news.clear()
                    tell("trying", one.reason)
            if not asked:
                return "running", NOBODY.format(want.name)
            if all(one.state == "running" for one in asked.values()):
                return "running", "; ".join(one.reason for one in asked.values())
            await either(*(one.news for one in asked.values() if one.state != "running"), timeout=LOOK)
            for called, stage in self._users(want.name).items():
                if called not in asked or asked[called].stage is not stage:
                    asked[called] = await self._give(want, trial.place, "run", called, stage)
            for gone in asked.keys() - self._users(want.name).keys():
                del asked[gone]
        trial.looks += TURN
        if trial.looks % PATIENCE < TURN:
            raise UpdateRefused("too few parts have come yet to judge it by; it is on trial until they do")
        raise Meanwhile("it is on trial")

    async def _returned(self, name: str) -> None:
        """All stages run what ran before, also those in which it did well."""
        if before := led_to(self._home(name) / CURRENT):
            for called, stage in self._users(name).items():
                await self._back(before, called, stage)
        await self._dropped(name)

    async def _back(self, place: Path, called: str, stage: Any) -> None:
        """What ran in this stage before runs again, without a trial."""
        judges = await asyncio.to_thread(stage.prepared, place)
        self._host.flow.tell(called, NewModel(place.name.partition("-")[0], judges, "back", _ignored))


def _ignored(*_: Any) -> None:
    return None
