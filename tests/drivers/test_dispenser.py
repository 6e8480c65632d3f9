"""The simulated dispenser: its laws, what it refuses, and that a site needs nothing else to run it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from drivers.dispenser.driver import Dispenser, DispenserConfig
from drivers.dispenser.plant import INPUTS, START, Plant, outside, tripped
from edge import DeviceRefused, SystemClock, Write
from edge.config.load import load_text
from edge.testing import FakeSource
from tests.bench.dispenser import allowed, best, worth

SAFE = np.array(list(START.values()))


def test_a_seed_is_a_machine_and_each_lot_has_its_noise_and_its_age() -> None:
    one, same, other = (Plant(seed) for seed in (4, 4, 5))
    assert (one.truth(SAFE[None]) == same.truth(SAFE[None])).all() and one.glue != other.glue
    fresh = one.truth(SAFE[None])[0]
    lots = np.array([one.lot(SAFE) for _ in range(300)])
    assert (lots == np.array([same.lot(SAFE) for _ in range(300)])).all()
    assert (lots[0] != fresh)[:3].all() and lots[0, 3] == fresh[3]
    assert one.truth(SAFE[None])[0, 0] != fresh[0], "it drifts"
    scatter = np.std(np.diff(np.log(lots[:, :3]), axis=0), axis=0) / np.sqrt(2)
    assert np.allclose(scatter, one.glue.noise, rtol=0.25)


def test_the_start_is_safe_and_poor_and_the_best_is_held_by_the_thread() -> None:
    for seed in range(8):
        plant = Plant(seed)
        x, top = best(plant)
        assert allowed(plant, np.array([SAFE, x])).all()
        assert worth(plant.truth(SAFE[None]))[0] < 0.2 * top
        assert plant.truth(x[None])[0, 2] > 0.19


def test_interlocks_and_ranges_and_an_empty_lot() -> None:
    x = np.array([SAFE, [4.0, 160.0, 0.3, 30.0], [4.5, 100.0, 0.3, 41.0], [4.0, 100.0, 0.3, 41.0], [6.1, 50, 0.3, 30]])
    assert tripped(x).tolist() == [False, True, True, False, False]
    assert outside(x).tolist() == [False, False, False, False, True]
    assert (Plant(1).truth(x)[1:3, :3] == 0).all()


def test_the_driver_makes_lots_takes_settings_and_refuses_what_the_machine_cannot() -> None:
    async def main() -> FakeSource:
        config = DispenserConfig(driver="dispenser", every="10ms", seed=2)
        source = FakeSource("glue", list(config.tags), SystemClock())
        machine = Dispenser(config, source)
        height = source.tags["height"].id
        assert await machine.write(Write(height, 0.5)) == 0.5 == await machine.read(height)
        with pytest.raises(DeviceRefused, match=r"0.9 is outside 0.1..0.8, the machine's own range of height"):
            await machine.write(Write(height, 0.9))
        await source.collect(machine, until=lambda: source.values("lot")[-1:] == [3.0])
        return source

    source = asyncio.run(main())
    assert source.values("lot") == [1.0, 2.0, 3.0] and set(source.values("height")) == {0.5}
    assert len(set(source.values("mass"))) == 3 and set(source.values("stopped")) == {0.0}


def test_a_site_says_which_of_its_tags_it_wants() -> None:
    site = "device: {id: a}\ndrivers:\n  glue: {driver: dispenser, tags: {mass: {}, %s}}\n"
    assert not load_text(site % "height: {writable: {range: [0.2, 0.4]}}").problems
    for tag, said in (
        ("speed: {}", "a dispenser has no 'speed'"),
        ("thread: {writable: {range: [0, 1]}}", "thread is what comes out"),
    ):
        (problem,) = load_text(site % tag).problems
        assert said in problem.message
    assert set(INPUTS) < set(
        load_text("device: {id: a}\ndrivers: {glue: {driver: dispenser}}\n").drivers["glue"].points()
    )
