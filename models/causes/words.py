"""What was found, in words and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

import numpy as np

from .parts import CODES
from .rank import FALSE, Found, Ranking, Rival

SHOWN = 8  # columns that were found; the page has them all
UNORDERED = "in which order they were made is not known: NG that came in heaps counts as if it had not"
NAMED = 4  # columns that a find often comes with
NEXT = 3  # of those that chance explains, the nearest
TRIES = 20  # bands of a column that know little of each other, about
OFTEN = 0.8  # of the times in which such a cause would show


def sentence(one: Found) -> str:
    what = f"NG ({one.kind})" if one.kind else "NG"
    against = f"{one.ng:,} of {one.of:,} parts against {one.other_ng or 'none':{',' if one.other_ng else ''}} of {one.other_of:,}"
    if not one.other_ng:
        return f"{what} comes only where {one.where}: {against}"
    return f"{what} is {_times(one.times)} times as frequent where {one.where}: {against}"


def doubts(one: Found, rivals: Sequence[Rival]) -> Iterator[str]:
    """What speaks against it, or has to be known of it."""
    low, high = one.between
    yield f"{_times(low)} to {_times(high)} times at 95 %; {rare(one.q)}" + (
        f"; in {_stretches(one)}" if one.stretches else ""
    )
    if told := of_each(one):
        yield "of each: " + ", ".join(f"{name}: {ng:,} of {of:,}" for name, (ng, of) in told.items())
    if one.once:
        share = f"{one.share:.0%} of them" if one.share < 1 else "all"
        when = f", from {iso(one.since)} to {iso(one.until)}" if one.since else ""
        yield f"{share} in one stretch{when}: whatever else was so at that time may be the cause"
    by = {how: [each for each in rivals if each.how == how] for how in ("twin", "gone", "within", "own", "holds")}
    for each in by["twin"]:
        yield f"together with {each.other.where} in {each.share:.0%} of the parts: the two cannot be told apart"
    for each in by["gone"]:
        yield f"often together with {each.other.where}, without which nothing is left of it: that one may be the reason"
    for each in by["within"]:
        yield f"within each {each.other.name} nothing is left of it: {each.other.name} may be the reason"
    if names := _names(by["own"]):
        yield f"often together with what was found of {names}, but tells something of its own, too"
    if names := _names(by["holds"]):
        yield f"often together with what was found of {names}, and holds without that"


def of_each(one: Found) -> dict[str, tuple[int, int]]:
    """NG and parts of each name or whole number, the worst first; of many, and of hours and bits, nothing."""
    bands = one.bands
    if not bands.each or bands.column.ring or not 2 < bands.cells <= CODES:
        return {}
    ng, of = one.counts
    order = [k for k in np.argsort(-ng / np.maximum(of, 1), kind="stable").tolist() if of[k]]
    return {bands.label(k): (int(ng[k]), int(of[k])) for k in order}


def taken(told: Ranking) -> Iterator[str]:
    """What would be ranked otherwise if its numbers are codes."""
    if names := amounts(told):
        some = names if len(names) <= NAMED else [*names[:NAMED], f"{len(names) - NAMED} more"]
        yield f"taken for amounts: {', '.join(some)}; where such numbers are codes, as of a recipe: --code {names[0]}"


def amounts(told: Ranking) -> list[str]:
    """Columns of a few whole numbers, which may be codes."""
    columns = {one.name: one.bands.column.codes for one in (*told.found, *told.others)}
    return [name for name, codes in columns.items() if codes is not None and len(codes) > 2]


def _names(rivals: Sequence[Rival]) -> str:
    names = [each.other.name for each in rivals]
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], f"{len(names) - NAMED + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def rare(q: float) -> str:
    """A q as people read it."""
    return f"q {q:.2g}" if q >= 1e-4 else f"q below {max(10.0 ** math.ceil(math.log10(max(q, 1e-9))), 1e-9):.0e}"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}"


def _stretches(one: Found) -> str:
    return f"{one.stretches} stretches of time" if one.stretches != 1 else "one stretch of time"


def words(stage: str, told: Ranking) -> Iterator[str]:
    of = f"{stage}: " if stage else ""
    kinds = ", ".join(f"{name} {n:,}" for name, n in told.kinds.items())
    yield f"{of}{told.parts:,} parts, {told.ng:,} NG" + (f" ({kinds})" if kinds else "")
    if told.too_few:
        yield told.too_few
        return
    if not told.found:
        yield nothing(told)
    if not told.ordered:
        yield UNORDERED
    yield from _found(told)
    if told.others:
        yield f"no more than chance, of {_looked(told)} that were looked at; the nearest:"
        yield from (f"    {_near(one)}" for one in told.others[:NEXT])
    yield from taken(told)
    yield from (f"not looked at: {name}: {why}" for name, why in sorted(told.left_out.items()))


def _found(told: Ranking) -> Iterator[str]:
    """The best find of each column with what speaks against it, and its others in a line each."""
    names = list(dict.fromkeys(one.name for one in told.found))
    for name in names[:SHOWN]:
        first, *others = (k for k, one in enumerate(told.found) if one.name == name)
        yield sentence(told.found[first])
        yield from (f"    {line}" for line in doubts(told.found[first], told.rivals.get(first, [])))
        for k in others:
            what = f"NG ({told.found[k].kind})" if told.found[k].kind else "NG"
            yield f"    {what} where {_near(told.found[k], of_kind=False)}"
    if len(names) > SHOWN:
        yield f"and of {len(names) - SHOWN} more, which --report and --json tell: {', '.join(names[SHOWN:])}"


def _near(one: Found, of_kind: bool = True) -> str:
    kind = f" ({one.kind})" if one.kind and of_kind else ""
    return f"{one.where}{kind}: {one.ng:,} of {one.of:,} against {one.other_ng:,} of {one.other_of:,}, {rare(one.q)}"


def nothing(told: Ranking) -> str:
    """What it means that nothing was found."""
    said = f"nothing goes with NG beyond what chance brings, of {_looked(told)}"
    least = shows(told)
    return said + (
        f"; a cause that is there in a fifth of the parts would show from about {least:.2g} times as frequent NG on"
        if least
        else "; with so few NG only a cause that makes nearly all of them would show"
    )


def shows(told: Ranking) -> float | None:
    """How many times as frequent NG has to be in a fifth of the parts to be found in four of five journals like this one, about."""
    n, rate, fifth = told.parts, told.ng / told.parts, 0.2
    wanted = NormalDist().inv_cdf(1 - FALSE / (2 * TRIES * max(1, len(told.others) + len(told.found))))
    wanted += NormalDist().inv_cdf(OFTEN)
    times = np.geomspace(1.05, 50, 400)
    low = rate / (fifth * times + 1 - fifth)
    off = low * (times - 1) / math.sqrt(rate * (1 - rate) / (n * fifth * (1 - fifth)))
    enough = (off >= wanted) & (low * times <= 1)
    return float(times[enough.argmax()]) if enough.any() else None


def _looked(told: Ranking) -> str:
    names = {one.name for one in (*told.found, *told.others)}
    return f"{len(names)} tags and times" if len(names) != 1 else "one tag"


def as_json(told: Ranking) -> dict[str, Any]:
    found = []
    for k, one in enumerate(told.found):
        times = None if math.isinf(one.times) else round(one.times, 3)
        counts = {"ng": one.ng, "of": one.of, "other_ng": one.other_ng, "other_of": one.other_of}
        when: dict[str, Any] = {"stretches": one.stretches, "share": round(one.share, 3), "once": one.once}
        when |= {"since": iso(one.since), "until": iso(one.until)} if one.since else {}
        found.append(
            {"name": one.name, "where": one.where, "kind": one.kind, "times": times, **counts}
            | ({"of_each": each} if (each := of_each(one)) else {})
            | {"between": [round(x, 3) for x in one.between], "p": one.p, "q": one.q, **when}
            | {"with": [{"where": each.other.where, "how": each.how} for each in told.rivals.get(k, [])]}
        )
    others = [{"name": one.name, "where": one.where, "kind": one.kind, "q": one.q} for one in told.others]
    head = {"parts": told.parts, "ng": told.ng, "kinds": told.kinds, "too_few": told.too_few}
    return {
        **head,
        "found": found,
        "others": others,
        "taken_for_amounts": amounts(told),
        "not_looked_at": told.left_out,
    }


def iso(ts: int) -> str:
    return datetime.fromtimestamp(ts // 10**9, UTC).strftime("%Y-%m-%dT%H:%MZ")
