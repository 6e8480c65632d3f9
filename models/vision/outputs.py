"""The station's outputs in the PLC: written so that the PLC never sees a verdict that is not whole.

Each output is a tag that can be written and is read back with every scan. `valid` rises only after a scan showed every word of
its result standing in the PLC; the words change only after a scan showed `valid` low. So a write that fails or comes late delays a
verdict and falsifies none, and a PLC that lost its memory gets everything again.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge import SECOND, Write

from .handshake import Shown

RESULT = ("part_done", "checksum", "ok", "ng", "recheck", "result_id")  # the id last: it vouches for those before it
ORDER = (
    "valid",
    *RESULT,
    "recipe",
    "interlock",
    "overrun",
    "taken_id",
    "taken",
    "refused",
    "busy",
    "ready",
    "heartbeat",
)
AGAIN = SECOND // 2  # after which an output that the PLC shows otherwise is written anew


class Outputs:
    """`tags`: the number of the tag of each output that the site has."""

    def __init__(self, tags: Mapping[str, int], cause: str) -> None:
        self.tags = {name: tags[name] for name in ORDER if name in tags}
        self._cause = cause
        self._sent: dict[str, tuple[float, int]] = {}  # value, when
        self._seen: dict[str, float] = {}
        self._settled: Shown | None = None  # what the PLC shows already
        self.rewritten = 0  # outputs that the PLC did not keep

    def see(self, name: str, value: float) -> None:
        """What a scan shows of an output."""
        if self._seen.get(name) != value:
            self._seen[name], self._settled = value, None

    def forget(self) -> None:
        """Nothing is known any more of what stands in the PLC: it does not answer."""
        self._sent, self._seen, self._settled = {}, {}, None

    def standing(self) -> int | None:
        """Id of the valid result that stands in the PLC, 0 for none; None where the site does not say which tags tell."""
        if not {"valid", "result_id"} <= self.tags.keys():
            return None
        return int(self._seen.get("result_id", 0)) if self._seen.get("valid") else 0

    def write(self, shown: Shown, mono: int) -> list[Write]:
        """What has to be written now, in this order, so that the PLC comes to see `shown`."""
        if shown == self._settled:
            return []
        out: list[Write] = []
        wrong = 0
        for name, tag in self.tags.items():
            value = float(getattr(shown, name)) if self._vouched(name, shown) else 0.0
            wrong += self._seen.get(name) != value or value != float(getattr(shown, name))
            if (name in RESULT and not self._free()) or not self._must(name, value, mono):
                continue
            self._sent[name] = value, mono
            out.append(Write(tag, value, cause=self._cause, quiet=True))
        self._settled = None if wrong else shown
        return out

    def settled(self) -> bool:
        """Whether the last scan showed everything as it was to be."""
        return self._settled is not None

    def _vouched(self, name: str, shown: Shown) -> bool:
        """Whether the words that belong to this bit stand in the PLC."""
        words = RESULT if name == "valid" else ("taken_id",) if name == "taken" else ()
        return all(self._seen.get(word) == float(getattr(shown, word)) for word in words if word in self.tags)

    def _free(self) -> bool:
        return "valid" not in self.tags or self._seen.get("valid") == 0

    def _must(self, name: str, value: float, mono: int) -> bool:
        sent, seen = self._sent.get(name), self._seen.get(name)
        if sent is None or sent[0] != value:
            return sent is not None or seen != value
        if seen is None or seen == value or mono - sent[1] < AGAIN:
            return False
        self.rewritten += 1
        return True
