"""The handshake on virtual time: `python -m tests.bench.handshake [--hours 1]` plays a part a second against a PLC that keeps it,
with scans of 20 ms and tools that take 50 to 600 ms, and tells how long the PLC waited from its trigger to the whole verdict."""

from __future__ import annotations

import argparse

import numpy as np

from tests.models.test_handshake import MS, Line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    line = Line(5)
    line.run(3600 * parser.parse_args().hours)
    line.plc.resting = True
    line.run(5)
    line.judge()
    middle, late, worst = np.percentile(np.array(line.plc.waited) / MS, (50, 99, 100))
    waited = f"p50 {middle:.0f}, p99 {late:.0f}, worst {worst:.0f} ms"
    print(f"{len(line.plc.results)} parts, 0 missed, 0 doubled; trigger to verdict {waited}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
