"""Cover ranges of addresses with the fewest runs of bounded length."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Sequence

Range = tuple[int, int]  # first, and the one after the last


def outermost(ranges: Collection[Range]) -> list[Range]:
    """Those that lie inside no other, ascending in both ends."""
    out: list[Range] = []
    for first, end in sorted(set(ranges), key=lambda r: (r[0], -r[1])):
        if not out or end > out[-1][1]:
            out.append((first, end))
    return out


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in ranges that touch no other, ascending."""
    out: list[Range] = []
    for first, end in sorted(ranges):
        if out and first <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((first, end))
    return out


def touched(ranges: Sequence[Range], first: int, end: int) -> Range | None:
    """The first of the `joined` ranges that has an address from `first` to before `end`; none where there is none between."""
    k = bisect_right(ranges, first, key=lambda r: r[1])
    return ranges[k] if first < end and k < len(ranges) and ranges[k][0] < end else None


def touches(ranges: Sequence[Range], first: int, end: int) -> bool:
    return touched(ranges, first, end) is not None


def fewest(blocks: Sequence[Range], most: int, breaks: Collection[int] = ()) -> list[Range]:
    """Runs that cover neighbouring blocks (ascending in both ends) whole, in at most `most` addresses; one begins at each of the
    blocks in `breaks`. No other choice has fewer runs, and of those none covers fewer addresses.

    The best cover of the first j blocks ends with a run from some block i: cost[j] = cost[i] + one run + end[j-1] - first[i].
    As both ends ascend, the i that are allowed form a window that only moves on, so its best is the head of a monotone queue.
    """
    run = blocks[-1][1] - blocks[0][0] + sum(end - first for first, end in blocks) + 1 if blocks else 1
    cost, came_from = [0], [0]
    window: deque[tuple[int, int]] = deque()  # (cost[i] - first[i], i), ascending in both
    for j, (first, end) in enumerate(blocks, 1):
        if j - 1 in breaks:
            window.clear()
        here = (cost[j - 1] - first, j - 1)
        while window and window[-1][0] >= here[0]:
            window.pop()
        window.append(here)
        while end - blocks[window[0][1]][0] > most and len(window) > 1:
            window.popleft()
        best, i = window[0]
        cost.append(best + run + end)
        came_from.append(i)
    runs, j = [], len(blocks)
    while j:
        i = came_from[j]
        runs.append((blocks[i][0], blocks[j - 1][1]))
        j = i
    return runs[::-1]
