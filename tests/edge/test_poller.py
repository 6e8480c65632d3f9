"""The poller most drivers are: a grid that does not drift, and a cause for every missing value."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge import DeviceLost, Quality
from edge.errors import DeviceRefused, DeviceSilent
from edge.poller import Poller
from edge.testing import FakeSource, virtual_run


class Scripted(Poller):
    """Each poll takes and gives what its script says; the last line holds."""

    def __init__(self, source: FakeSource, *script: Any, every: float = 1.0, timeout: float = 2.0) -> None:
        super().__init__(Poller.Config(driver="x", every=every, timeout=timeout), source)
        self.script, self.at, self.closed = list(script), [], 0  # type: ignore[var-annotated]

    async def poll(self) -> dict[str, float]:
        self.at.append(asyncio.get_running_loop().time() - 1000)
        does = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(does, Exception):
            raise does
        await asyncio.sleep(does)
        return {"t": 1.0}

    async def close(self) -> None:
        self.closed += 1


def poll(
    *script: Any, seconds: float, error: type[Exception] | None = None, phase: float = 0.0, **options: Any
) -> tuple[FakeSource, Scripted]:
    async def main() -> tuple[FakeSource, Scripted]:
        source = FakeSource("plc", ["t"])
        source.phase = phase
        driver = Scripted(source, *script, **options)
        if error is None:
            await source.collect(driver, seconds=seconds)
        else:
            with pytest.raises(error):
                await source.collect(driver, seconds=seconds)
        assert driver.closed == 1
        return source, driver

    return virtual_run(main())


def test_the_grid_does_not_drift_however_long_a_poll_takes() -> None:
    _, driver = poll(0.3, 0.1, 0.7, 0.2, seconds=5.5)
    assert driver.at == pytest.approx([0, 1, 2, 3, 4, 5])


def test_a_phase_moves_the_grid_and_not_the_first_poll() -> None:
    _, driver = poll(0.3, 0.1, 0.7, 0.2, seconds=4.5, phase=0.6)
    assert driver.at == pytest.approx([0, 0.4, 1.4, 2.4, 3.4, 4.4])


def test_slots_that_were_missed_are_counted_and_the_grid_stays() -> None:
    source, driver = poll(2.5, 0.1, seconds=6.5, timeout=5.0)
    assert source.counts["overruns"] == 1
    assert driver.at[-3:] == pytest.approx([4, 5, 6])


def test_silence_gives_a_cause_three_times_and_then_the_connection_up() -> None:
    source, _ = poll(60.0, seconds=100, error=DeviceLost, timeout=0.5)
    assert source.qualities("t") == [Quality.TIMEOUT] * 3 and source.counts["timeout"] == 3


def test_one_answer_forgives_the_silences_before_it() -> None:
    source, _ = poll(DeviceSilent("-"), DeviceSilent("-"), 0.0, DeviceSilent("-"), DeviceSilent("-"), 0.0, seconds=6.5)
    good, silent = Quality.GOOD, Quality.TIMEOUT
    assert source.qualities("t")[:6] == [silent, silent, good, silent, silent, good]


def test_a_device_that_says_no_keeps_its_connection() -> None:
    source, _ = poll(DeviceRefused("no"), seconds=9.5)
    assert source.qualities("t") == [Quality.EXCEPTION] * 10 and source.counts["exception"] == 10


def test_anything_else_goes_to_the_supervisor() -> None:
    source, _ = poll(ZeroDivisionError("a bug"), seconds=5, error=ZeroDivisionError)
    assert not source.batches


def test_a_full_journal_skips_slots_and_counts_them() -> None:
    async def main() -> None:
        source = FakeSource("plc", ["t"])
        source.full = True
        driver = Scripted(source, 0.0)
        await source.collect(driver, seconds=3.5)
        assert source.counts["skipped_journal_full"] == 4 and not driver.at

    virtual_run(main())
