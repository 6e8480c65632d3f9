"""Values of several registers before a device that changes all of them between any two answers: none may be half old."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drivers.modbus.driver import Modbus
from drivers.modbus.options import ModbusConfig
from edge import Batch, Quality, SystemClock, Tag
from edge.testing import FakeSource

from .judge import Enough

FORMS = {"uint32": ">u4", "float32": ">f4", "float64": ">f8"}
SERVER = Path(__file__).parent / "moving.c"


@contextlib.contextmanager
def moving(folder: Path) -> Iterator[int]:
    """The port of such a device, built in `folder`. Raises OSError or CalledProcessError without compiler or libmodbus."""
    words, program = ["pkg-config", "--cflags", "--libs", "libmodbus"], folder / "moving"
    flags = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["cc", "-o", program, SERVER, *flags], check=True, capture_output=True)
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


class Whole(FakeSource):
    """Counts good values of which not every register is of one answer: the device fills all of them with one number."""

    def __init__(self, config: ModbusConfig, values: int, step: Callable[[int], None]) -> None:
        super().__init__("plc", [Tag(f"plc.{name}", source="plc") for name in config.points()], SystemClock())
        kinds = np.array([point.value_type() for point in config.points().values()])
        self._of_kind = {kind: np.flatnonzero(kinds == kind) for kind in (*FORMS, "uint16")}
        self._values, self._step = values, step
        self.seen, self.torn = 0, 0
        self.turns: set[int] = set()

    def emit(self, batch: Batch) -> None:
        good = batch.quality == Quality.GOOD
        for kind, at in self._of_kind.items():
            value = batch.value[at][good[at]]
            if kind == "uint16":  # two tags, one after the other
                words = value[: len(value) // 2 * 2].reshape(-1, 2)
            else:
                words = value.astype(FORMS[kind]).view(">u2").reshape(-1, int(FORMS[kind][-1]) // 2)
            self.torn += int((words != words[:, :1]).any(axis=1).sum())
            self.seen += len(words)
            self.turns |= set(words[:, 0].tolist())
        self._step(self.seen)
        if self.seen >= self._values:
            raise Enough


def site(port: int, halved: bool = False) -> ModbusConfig:
    """120 values of two and four registers, in requests whose length fits neither. `halved`: the same registers each as a tag of
    its own, so that what belongs together comes in two answers."""
    tags: dict[str, Any] = {}
    at = 0
    for i in range(120):
        kind = list(FORMS)[i % 3]
        size = int(FORMS[kind][-1]) // 2
        for k in range(size if halved else 1):
            tags[f"v{i}_{k}"] = {"address": f"holding:{at + k}", "type": "uint16" if halved else kind}
        at += size
    options = {"every": "1ms", "timeout": "2s", "max_registers": 31, "gap": 0}
    return ModbusConfig(driver="modbus", url=f"tcp://127.0.0.1:{port}", tags=tags, **options)


async def read_whole(
    port: int, values: int, halved: bool = False, step: Callable[[int], None] = lambda seen: None
) -> Whole:
    config = site(port, halved)
    it = Whole(config, values, step)
    with contextlib.suppress(Enough):
        await Modbus(config, it).run()
    return it
