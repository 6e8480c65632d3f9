"""What a site promises: how often each tag is sampled. An event tells it at each start and each change of the site, so that who
gets the samples can say whether all of them came."""

from __future__ import annotations

from collections.abc import Iterable

from .config.site import Config
from .event import Event
from .reduce import HEARTBEAT
from .tags import TagTable

QUIET = HEARTBEAT / 1e9  # seconds that a deadband keeps an unchanged value back


def promised(config: Config, table: TagTable, state: str) -> Event:
    """`state` is started or changed. Its data: {"every": [[seconds between samples, seconds that a deadband may keep silent on
    top, ids as in "1-5,8"], ...]}; 0 seconds between samples promise nothing regular."""
    every = config.every()
    groups: dict[tuple[float, float], list[int]] = {}
    for tag in table:
        groups.setdefault((every.get(tag.name, 0.0), 0.0 if tag.deadband is None else QUIET), []).append(tag.id)
    data = {"every": [[*seconds, _spans(ids)] for seconds, ids in sorted(groups.items())]}
    text = f"{len(table)} tags of {len(config.drivers)} sources"
    return Event("device", config.device.id, state, text=text, data=data)


def _spans(ids: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(ids):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
