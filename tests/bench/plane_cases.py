"""What 2,000 fault cases cost the plane: taken in, given to devices, found; on SQLite, or on the PostgreSQL at an address.

python -m tests.bench.plane_cases [postgresql://…]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from edge import Case, KnownCases, SeenAlarm, Signature, parse_cases, text_of_cases
from sync.control_plane import cases, tables
from sync.control_plane.case_search import found, graph
from sync.control_plane.store import Store

DEVICES, SITES = 1000, 100


def made(n: int) -> list[Case]:
    words = np.array([f"word{k}" for k in range(3000)])
    rng = np.random.default_rng(1)
    out = []
    for k in range(n):
        text = [" ".join(words[rng.integers(0, len(words), 6)]) for _ in range(3)]
        shares = {f"pump.t{t}": float(share) for t, share in zip(rng.integers(0, 40, 4), rng.random(4), strict=True)}
        signature = Signature(alarm=f"alarm{k % 50}", shares=shares)
        out.append(Case(id=f"c{k}", symptom=text[0], cause=text[1], remedy=f"remedy {k % 100}", signature=signature))
    return out


def main(address: str) -> None:
    took: dict[str, float] = {}

    @contextmanager
    def timed(name: str, times: int = 1) -> Iterator[None]:
        began = time.perf_counter()
        yield
        took[f"{name}_ms"] = round((time.perf_counter() - began) * 1000 / times, 1)

    store, some = Store(address), made(2000)
    for kind in (".csv", ".yaml"):
        body = text_of_cases(some, kind).encode()
        with timed(f"read{kind}"):
            parse_cases(body, kind)
    row = {"secret": "", "enrolled": 1.0, "seen": 1.0}
    with store.writing.begin() as c:
        c.execute(
            tables.device.insert(), [{"id": f"d{n}", "site": f"acme/site{n % SITES}", **row} for n in range(DEVICES)]
        )
        with timed("take_in"):
            cases.take_in(c, "acme", cases.ready(some), "li")
        with timed("give", DEVICES):
            for n in range(DEVICES):
                cases.give(c, f"d{n}")
        with timed("change"):
            cases.take_in(c, "acme", cases.ready([some[0].model_copy(update={"cause": "another"})]), "li")
        with timed("take_in_again"):
            cases.take_in(c, "acme", cases.ready(some), "li")
    with store.engine.connect() as c:
        with timed("find", 50):
            for one in some[:50]:
                assert found(c, one.symptom)[0][0].case.id == one.id
        with timed("node", 20):
            for k in range(20):
                assert graph(c, "remedy", f"remedy {k}")["cases"] == 20
        with timed("signature"):
            known = KnownCases([row.case for row in cases.listed(c)])
            assert known.nearest(SeenAlarm("x", shares=some[7].signature.shares))[0].case.id == "c7"
    store.close()
    print(json.dumps({"bench": "plane cases", "database": store.engine.dialect.name, "cases": len(some), **took}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1] if sys.argv[1:] else f"sqlite:///{folder}/plane.db")
