"""The safe optimiser: what it never breaks, what it finds, and what it does where nothing is certain."""

from __future__ import annotations

import numpy as np
import pytest

from models.process.gp import Points, Process, matern
from models.process.quantity import Quantity
from models.process.search import Search
from models.process.space import Input, Space
from models.process.task import Aim, Hint, Limit, Task
from models.process.tuner import Tuner

HEAT = "m.heat * m.speed <= 50"


def space(*interlocks: str, step: float = 0.0) -> Space:
    return Space([Input("m.heat", 0, 10, step), Input("m.speed", 1, 9), Input("m.gap", -1, 1)], interlocks)


def top(x: np.ndarray) -> dict[str, float]:
    """A hill at (6, 4, 0.2), and smoke that grows with the heat."""
    gain = 10 - (x[0] - 6) ** 2 / 6 - (x[1] - 4) ** 2 / 3 - 4 * (x[2] - 0.2) ** 2
    return {"m.gain": float(gain), "m.smoke": float(np.exp(x[0] / 5))}


def task(*interlocks: str, **more: object) -> Task:
    aim = Aim(["m.gain"], lambda columns: columns["m.gain"])
    return Task(space(*interlocks), aim, **more)  # type: ignore[arg-type]


def tuned(trials: int, one: Task, seed: int = 1) -> Tuner:
    tuner, x = Tuner(one, np.random.default_rng(seed)), np.array([1.0, 2.0, -0.5])
    for k in range(trials):
        x = tuner.ask(x).x if k else x
        tuner.tell(x, top(x))
    return tuner


def test_a_process_foretells_a_law_that_it_was_shown_and_is_unsure_elsewhere() -> None:
    rng = np.random.default_rng(3)
    process = Process(2, rng)
    x = rng.random((24, 2)) * [1, 0.5]
    y = 3 + 2 * x[:, 0] + np.sin(5 * x[:, 1])
    for n in range(2, 25):
        process.tell(Points.at(x[:n]), y[:n], float(y[:n].mean()), 1.0)
    asked = np.array([[0.3, 0.2], [0.8, 0.4], [0.5, 1.0]])
    mean, spread = process.foretell(Points.at(asked))
    truth = 3 + 2 * asked[:2, 0] + np.sin(5 * asked[:2, 1])
    assert np.abs(mean[:, :2].mean(axis=0) - truth).max() < 0.05
    assert spread[:, 2].mean() > 5 * spread[:, :2].mean() and process.noise().mean() < 0.1


@pytest.mark.parametrize("which", [slice(3, 9), slice(None)])
def test_a_law_under_which_nothing_can_be_reckoned_is_given_up(which: slice) -> None:
    process = Process(1, np.random.default_rng(1))
    process._members[which, 1:3] = [-50.0, 60.0]  # no noise, and a law so wild that equal points are no two
    y = np.array([1.0, 1.1, 0.9, 2.0])
    process.tell(Points.at(np.array([[0.2], [0.2], [0.2], [0.8]])), y, 1.0, 1.0)
    mean, deviation = process.foretell(Points.at(np.array([[0.2], [0.8]])))
    assert np.isfinite(mean).all() and (deviation > 0).all() and abs(mean.mean(axis=0)[0] - 1) < 0.5


def test_the_same_settings_again_and_again_are_no_trouble_for_a_short_and_strong_bend() -> None:
    rng = np.random.default_rng(4)
    process, x = Process(4, rng), np.repeat(rng.random((5, 4)), 5, axis=0)
    scales = np.array([[4.27, -8.89, 4.34, 5.34]])
    assert (np.diagonal(matern(x, x, scales), axis1=1, axis2=2) == 1).all(), "of the same point nothing may be left"
    process.tell(Points.at(x), rng.normal(size=25), 0.0, 1.0)
    members = np.tile([*scales[0], -24.0, 0.99, -14.13], (8, 1)) + [0, 0, 0, 0, 0, 1, 0] * np.arange(8)[:, None]
    assert np.isfinite(process._posterior(members)).all()


def test_a_drift_is_learned_with_the_age_of_the_trials() -> None:
    rng = np.random.default_rng(3)
    steady, drifting = Process(1, rng), Process(1, rng, horizon=25)
    x, age = rng.random((20, 1)), np.arange(20.0)
    y = x[:, 0] - 0.05 * age
    for n in range(2, 21):
        points = Points(x[:n], age[:n], np.zeros(n, np.int64))
        for process in (steady, drifting):
            process.tell(points, y[:n], 0.0, 0.5)
    now = Points.at(np.array([[0.5]]), age=20)
    assert abs(drifting.foretell(now)[0].mean() + 0.5) < 0.15 < abs(steady.foretell(now)[0].mean() + 0.5)


def test_what_is_never_negative_is_learned_by_factors_and_a_limit_by_its_chance() -> None:
    one = Quantity(1, np.random.default_rng(1), 0.0, np.zeros(1), 8.0)
    x = np.linspace(0, 0.6, 7)[:, None]
    one.tell(Points.at(x), np.exp(3 * x[:, 0]))
    chance = one.chance(Points.at(np.array([[0.3], [0.6], [0.75], [1.0]])), None, 8.0)
    assert chance[0] > 0.99 and chance[1] > 0.9 and chance[3] < 0.2
    assert (one.draws(Points.at(np.array([[0.0]])), np.linspace(-3, 3, 5)) > 0).all()
    assert abs(one.surprise(Points.at(np.array([[0.3]])), np.exp([0.9]))[0]) < 1
    assert one.surprise(Points.at(np.array([[0.3]])), np.exp([1.9]))[0] > 3


def test_a_limit_of_what_is_measured_leaves_room_for_the_noise() -> None:
    rng = np.random.default_rng(2)
    one = Quantity(1, rng, 0.0, np.zeros(1), 10.0)
    x = np.linspace(0, 1, 20)[:, None]
    y = 9.0 * np.exp(rng.normal(0, 0.1, 20))
    for _ in range(5):
        one.tell(Points.at(x), y)
    here = Points.at(np.array([[0.5]]))
    true, measured = (one.chance(here, None, 10.0, measured=noisy)[0] for noisy in (False, True))
    assert true > 0.95 > 0.9 > measured > 0.5
    tuner = tuned(6, task(limits=[Limit("m.smoke", at_most=2.0)]))
    there = np.array([[3.3, 2.0, 0.0], [3.4, 2.0, 0.0]])
    before = tuner.sure(there)
    tuner.task.limits = [Limit("m.smoke", at_most=2.0, measured=True)]
    assert (tuner.sure(there) < before).all()


def test_it_climbs_in_steps_of_two_settings_and_never_breaks_what_is_forbidden() -> None:
    tuner = tuned(16, task(HEAT, limits=[Limit("m.smoke", at_most=4.0)], certain=0.99))
    tried = np.array(tuner.x)
    assert tuner.task.space.allowed(tried).all()
    assert ((np.diff(tried, axis=0) != 0).sum(axis=1) <= 2).all()
    assert all(made["m.smoke"] <= 4.0 for made in tuner.made)
    best = tuner.best()
    assert best.worth > 7 > 3 > tuner.made[0]["m.gain"] and best.between[0] <= best.worth <= best.between[1]


def test_without_the_limit_the_same_seed_smokes() -> None:
    """So the limit above is kept by what it says, and not by chance."""
    assert any(top(x)["m.smoke"] > 3.0 for x in tuned(8, task(HEAT)).x)
    limited = tuned(8, task(HEAT, limits=[Limit("m.smoke", at_most=1.6)], certain=0.99))
    assert all(made["m.smoke"] <= 1.6 for made in limited.made)


def test_an_interlock_holds_on_the_way_too() -> None:
    one = space(HEAT)
    now, there = np.array([10.0, 5.0, 0.0]), np.array([5.0, 9.0, 0.0])
    assert one.order(now, there) == [0, 1], "first the heat goes down"
    assert one.order(there, now) == [1, 0]
    both = space(HEAT, "m.heat * m.speed >= 40")
    assert both.order(now, there) is None
    assert not both.allowed(np.array([[5.0, 5.0, 0.0]])).any()
    assert list(one.broken(np.array([[10.0, 9.0, 0.0]]))) == [HEAT]


def test_steps_and_factors() -> None:
    stepped = space(step=0.3)
    x = stepped.settings(np.array([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [7.0, -1.0, 0.5]]))
    assert np.allclose(x[:, 0], [5.1, 9.9, 9.9]) and (x <= stepped.high).all()
    assert np.allclose(x[:, 1], [3.0, 9.0, 1.0]), "1 to 9 is laid out by factors: its middle is 3"
    assert np.allclose(stepped.unit(stepped.settings(np.array([[0.3, 0.2, 0.8]]))), [[0.3, 0.2, 0.8]])


def test_a_batch_is_several_trials_at_once_and_leaves_nothing_behind() -> None:
    tuner = tuned(5, task(HEAT, limits=[Limit("m.smoke", at_most=4.0)]))
    before = len(tuner.x), tuner.now, tuner.ask(tuner.x[-1]).x.tolist()
    chosen = tuner.batch(tuner.x[-1], 4)
    assert (len(tuner.x), tuner.now) == before[:2] and len(chosen) == 4
    x = tuner.task.space.unit(np.array([one.x for one in chosen]))
    apart = np.abs(x[:, None] - x[None]).max(axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 0.01 and apart.max() > 0.1, "they differ"
    assert (
        tuner.task.space.allowed(np.array([one.x for one in chosen])).all() and min(one.sure for one in chosen) >= 0.95
    )


def test_where_nothing_is_certain_it_goes_where_it_is_safest() -> None:
    tuner = Tuner(task(limits=[Limit("m.smoke", at_most=1.2)]), np.random.default_rng(1))
    hot = np.array([6.0, 4.0, 0.0])
    tuner.tell(hot, top(hot))
    assert tuner.ask(hot).why == "the safest there is"


def test_hints_and_likely_ranges_speed_it_up_and_history_counts() -> None:
    hinted = Tuner(task(hints=[Hint("m.heat", "m.gain", 1)]), np.random.default_rng(1))
    plain = Tuner(task(), np.random.default_rng(1))
    x = np.array([5.0, 2.0, 0.0])
    for tuner in (hinted, plain):
        tuner.tell(x, top(x))
    up = np.array([[8.0, 2.0, 0.0], [2.0, 2.0, 0.0]])
    assert np.diff(hinted._draws(up).mean(axis=0))[0] < -0.5 < np.diff(plain._draws(up).mean(axis=0))[0]
    likely = Tuner(task(likely={"m.gap": (0.1, 0.3)}, changes=3), np.random.default_rng(1))
    likely.tell(x, top(x))
    assert likely._liked(np.array([[5.0, 2.0, 0.2], [5.0, 2.0, -1.0]])).tolist() == pytest.approx([1, 0], abs=0.1)
    taught = Tuner(task(), np.random.default_rng(1))
    for gap in np.linspace(-1, 1, 8):
        taught.remember(np.array([6.0, 4.0, gap]), top(np.array([6.0, 4.0, gap])))
    taught.tell(x, top(x))
    assert abs(taught.best().x[2] - 0.2) < 0.2 and taught.now == 1


def test_what_raised_an_alarm_is_never_the_best_while_there_is_another_and_is_kept_from() -> None:
    tuner = tuned(4, task())
    good = tuner.best().x
    for _ in range(2):
        tuner.tell(good, top(good), alarmed=True)
    assert (tuner.best().x != good).any() and tuner.sure(good[None])[0] < 0.5
    assert all((tuner.ask(tuner.x[0]).x != good).any() for _ in range(3))
    only = Tuner(task(HEAT), np.random.default_rng(1))
    only.remember(np.array([10.0, 9.0, 0.0]), top(np.array([10.0, 9.0, 0.0])))
    only.tell(np.array([1.0, 2.0, 0.0]), top(np.array([1.0, 2.0, 0.0])), alarmed=True)
    assert only.best().x.tolist() == [1.0, 2.0, 0.0], "what is forbidden is not the best, alarm or not"


def test_a_jump_lets_the_level_step_and_keeps_the_shape() -> None:
    tuner = tuned(8, task())
    here = tuner.x[-1]
    before = tuner.best().worth
    tuner.jump()
    tuner.tell(here, {name: value - 5 for name, value in top(here).items()})
    assert before - 7 < tuner.best().worth < before - 3


def test_a_trial_towards_what_is_unsure_opens_more_than_one_that_teaches_nothing_of_it() -> None:
    one = Quantity(1, np.random.default_rng(1), 0.0, np.zeros(1), 3.0)
    x = np.linspace(0, 0.4, 6)[:, None]
    one.tell(Points.at(x), np.exp(x[:, 0] + np.random.default_rng(2).normal(0, 0.02, 6)))
    tried, there = Points.at(np.array([[0.0], [0.4], [0.7]])), Points.at(np.array([[0.9], [5.0]]))
    opens = one.opens(tried, there, (None, 3.0), 0.95)
    assert 0 <= opens[0, 0] < opens[1, 0] < opens[2, 0] <= 1, "the nearer, the more is learned of it"
    assert (opens[:, 1] < opens[:, 0]).all() and opens[:, 1].max() < 0.2, "what is far beyond stays so"
    mirrored = one.opens(tried, there, (3.0, None), 0.95)
    assert (mirrored[:, 0] < 0.1).all(), "nor does it become sure to be above"


def test_what_is_hardly_a_change_takes_no_trial_and_what_is_far_counts_for_less() -> None:
    one, now = Search(space(), 2, np.random.default_rng(1)), np.array([5.0, 3.0, 0.0])
    x, worth = one.sought(now, now[None], lambda x: -((x - [6.0, 4.0, 0.2]) ** 2).sum(axis=1))
    apart = np.abs(space().unit(x) - space().unit(now))
    assert ((apart == 0) | (apart >= 0.01)).all() and ((apart == 0).any(axis=1)).sum() > 20
    assert np.abs(x[worth.argmax()] - [6.0, 4.0, 0.2]).max() < 0.1
    few = one.patience(now, np.array([[5.0, 3.0, 0.0], [6.0, 3.0, 0.5], [6.0, 4.0, 0.5]]))
    assert few.tolist() == [1.0, 1.0, 0.6]
