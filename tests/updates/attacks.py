"""Nine attacks of TUF's own list (its specification, section 1.5.2), by somebody who holds the plane: its folder, its certificate,
and where that helps its online key, too."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tuf.api.metadata import Metadata, Targets, Timestamp

from edge import LinesideError, ManualClock
from tests.updates.scene import Scene, Wicked

KINDS = ("model", "config", "firmware")
Attack = Callable[[Scene], Wicked | None]


def arbitrary(scene: Scene) -> None:
    """Other bytes of the same length in the place of what was signed."""
    (found,) = (scene.mirror / "targets" / scene.kind).glob("*.part-2")
    found.write_bytes(b"x" * found.stat().st_size)
    scene.hall.serve(scene.mirror)


def endless(scene: Scene) -> Wicked:
    """Bytes that never end."""

    def wicked(path: str, at: int, most: int) -> tuple[int, bytes] | None:
        if path.startswith("targets/"):
            return 2**50, b"x" * most
        return scene.part(path, at, most)

    return wicked


def extraneous(scene: Scene) -> None:
    """Something else has to be installed along with it. Even of who signs this kind it is not taken."""
    role, _ = newest(scene.repository, scene.kind)
    role.signed.targets[scene.two].unrecognized_fields["custom"]["needs"] = ["firmware/evil-1"]
    scene.signers.repository._publish(scene.kind, role, scene.signers.kinds[scene.kind])
    scene.signers.repository.approve(scene.signers.online)
    scene.hall.serve(scene.repository)


def fast_forward(scene: Scene) -> None:
    """The highest version there is, so that no genuine one could ever follow."""
    _timestamp(scene, 2**31 - 1)
    scene.hall.serve(scene.mirror)


def freeze(scene: Scene) -> None:
    """The same for ever: nothing newer is there to be seen."""
    scene.later(8)
    scene.hall.serve(scene.folder / "first")


def mixed(scene: Scene) -> None:
    """Two states that never were one: the artefacts of before under the snapshot of now."""
    _, path = newest(scene.mirror, scene.kind)
    shutil.copy(path.with_name(f"1.{scene.kind}.json"), path)
    scene.hall.serve(scene.mirror)


def rollback(scene: Scene) -> None:
    """What was signed once, to a device whose state was put back to a copy of that time."""
    state = scene.folder / "state"
    shutil.copytree(state, scene.folder / "copy", symlinks=True)
    scene.hall.serve(scene.mirror)
    scene.run(scene.updates.refresh)
    shutil.rmtree(state)
    shutil.copytree(scene.folder / "copy", state, symlinks=True)
    scene.hall.serve(scene.folder / "first")


def slow(scene: Scene) -> Wicked:
    """A byte at a time."""

    def wicked(path: str, at: int, most: int) -> tuple[int, bytes] | None:
        return scene.part(path, at, 1 if path.startswith("targets/") else most)

    return wicked


def wrong(scene: Scene) -> None:
    """Genuine, and for other devices."""
    scene.signers.drop(scene.two)
    scene.signers.add(scene.two, scene.new, ["kiln"])
    scene.hall.serve(scene.repository)


ATTACKS: dict[str, tuple[Attack, str]] = {
    "arbitrary software": (arbitrary, "arbitrary software: "),
    "endless data": (endless, "endless data: "),
    "extraneous dependencies": (extraneous, "asks for what is not known here: needs"),
    "fast-forward": (fast_forward, "fast-forward: timestamp jumps"),
    "indefinite freeze": (freeze, "freeze: timestamp.json is expired"),
    "mix-and-match": (mixed, "mix-and-match: "),
    "rollback": (rollback, "rollback: timestamp"),
    "slow retrieval": (slow, "slow retrieval: "),
    "wrong software": (wrong, "wrong device: "),
}


def refused(scene: Scene, name: str) -> str:
    """What the device says of an attack. Raises AssertionError where it takes anything, or says it in other words, or what it runs
    and believes is another thing after it, or it takes no genuine update any more."""
    attack, words = ATTACKS[name]
    wicked = attack(scene)
    before = scene.believed()
    store = sorted(path.name for path in (scene.folder / "state" / "updates" / "store").iterdir())
    try:
        scene.run(scene.take(scene.two), wicked)
    except LinesideError as error:
        said = str(error)
    else:
        raise AssertionError(f"{name} of a {scene.kind} was taken")
    assert words in said, said
    if words.startswith(("fast", "freeze", "mix", "rollback")):
        assert scene.believed() == before
    else:
        scene.believed()
    kept = sorted(path.name for path in (scene.folder / "state" / "updates" / "store").iterdir())
    assert [one for one in kept if not one.endswith(".part")] == store
    _goes_on(scene)
    return said


def _goes_on(scene: Scene) -> None:
    """A genuine update that comes later is taken."""
    scene.signers.now = None
    scene.signers.add(three := f"{scene.kind}/part-3", b"version three", ["press"])
    scene.hall.serve(scene.repository)
    scene.clock = ManualClock(time.time_ns())
    scene.updates = scene.device()
    scene.run(scene.take(three))
    assert scene.updates.verified(three).read_bytes() == b"version three"


def newest(folder: Path, role: str) -> tuple[Metadata[Targets], Path]:
    path = max((folder / "metadata").glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))
    return Metadata.from_file(str(path)), path


def _timestamp(scene: Scene, version: int) -> None:
    """A timestamp of that version, by the stolen online key."""
    path = scene.mirror / "metadata" / "timestamp.json"
    last: Metadata[Timestamp] = Metadata.from_file(str(path))
    last.signed.version = version
    last.sign(scene.signers.online)
    path.write_bytes(last.to_bytes())
