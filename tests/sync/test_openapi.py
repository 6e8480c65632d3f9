"""Every operation of the API with whatever its own description allows, and more: nothing is an error of the plane's.

`make api-fuzz` does the same for longer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="needs the dev extra")
pytest.importorskip("fastapi", reason="needs the plane extra")

from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from sync.control_plane import entrance, signin
from sync.control_plane.plane import Plane
from tests.sync.tenants import OWN, settled
from tests.sync.test_page import Ask, page
from tests.walks import WALKS

EXAMPLES = int(os.environ.get("API_EXAMPLES", "3"))  # of each operation, and of each way
ENDLESS = ("/api/live",)  # a stream; test_matrix.py follows it
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_nothing_that_is_asked_is_an_error_of_ours(
    database: str, tmp_path: Path, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not WALKS and database.startswith("sqlite") == (mode is GenerationMode.NEGATIVE):
        pytest.skip("nonsense goes to PostgreSQL, what is allowed to SQLite; all to both: make walks")
    monkeypatch.setattr(entrance, "BURST", 1e9)
    monkeypatch.setattr(signin, "TRIES", 10**9)

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        who = {"Cookie": f"session={plane.people.login(plane.people.key)}"}  # of the link: no operation ends it
        _, said, _ = await ask("GET", "/openapi.json", **who)
        base = plane.link.split("/login")[0]
        answers = await asyncio.to_thread(fuzzed, json.loads(said), base, who, mode)
        assert len(answers) > 30
        turned_away = [name for name, its in answers.items() if {401, 403, 429} & its.keys()]
        assert set(turned_away) <= {"POST /api/login", "POST /api/password"}, (
            "all the others looked at what they were asked"
        )

    page(tmp_path, work)


def fuzzed(description: dict[str, Any], base: str, who: dict[str, str], mode: Any) -> dict[str, Counter[int]]:
    """Each operation; what the answers were."""
    schema = schemathesis.openapi.from_dict(description)
    wrong: list[str] = []
    answers: dict[str, Counter[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS:
            continue
        answers[operation.label] = Counter()
        kinds = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
        how = settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=kinds, phases=[Phase.generate]
        )

        @how
        @given(case=operation.as_strategy(generation_mode=mode))
        def asked(case: Any) -> None:
            if "device" in case.path_parameters and len(case.path_parameters["device"]) % 2:
                case.path_parameters["device"] = OWN
            answer = case.call(base_url=base, headers=who, timeout=60)
            answers[case.operation.label][answer.status_code] += 1
            if answer.status_code >= 500:
                wrong.append(
                    f"{answer.status_code} {case.method} {answer.request.url} {answer.request.body!r}: {answer.text}"
                )

        try:
            asked()
        except Exception as error:  # of the tool: it can make nothing of this operation that way
            if "Unsatisfiable" not in type(error).__name__ and "no examples" not in str(error).lower():
                raise
    assert not wrong, "\n".join(wrong[:5])
    return answers
