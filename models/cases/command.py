"""`lineside cases SITE`: the fault cases of a site, found by words or by an alarm, imported and exported."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge import (
    Event,
    LinesideError,
    NearCase,
    SeenAlarm,
    compile_expression,
    events_of,
    load_site,
    log,
    merged_cases,
    read_cases,
    seen_of,
    site_and_state,
    state_folder,
    write_cases,
)

from .knowledge import Knowledge
from .stage import CasesConfig, own_file

HELP = "fault cases: find them by words or by an alarm, import and export them"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--find", metavar="WORDS", help="those that hold these words, the best first")
    what.add_argument("--alarm", metavar="KEY", help="those near to this alarm, or to what this stage raised last")
    what.add_argument("--import", dest="take", type=Path, metavar="FILE", help="take in a YAML, JSON or CSV file")
    what.add_argument(
        "--export", dest="give", type=Path, metavar="FILE", help="write those of its own to a YAML, JSON or CSV file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per case")


def run(options: argparse.Namespace) -> int:
    site = load_site(options.site)
    stages = [stage for stage in site.stages.values() if isinstance(stage, CasesConfig)]
    if len(stages) != 1 and site.problems:
        raise LinesideError("\n".join(map(str, site.problems)))
    if len(stages) != 1:
        hint = "add `known: {stage: cases, file: cases.yaml}` under `stages:`" if not stages else "keep one of them"
        raise LinesideError(f"{options.site} has {len(stages)} stages `cases`, not one", hint=hint)
    path, state = own_file(stages[0], site.folder), state_folder(site.device.id, options.state)
    if path is None and (options.take or options.give):
        raise LinesideError(f"{options.site} has no cases of its own", hint="say `file: cases.yaml` under its stage")
    if path and options.take:
        return _take(path, options.take)
    if path and options.give:
        write_cases(options.give, cases := read_cases(path))
        log.info("%s: %d cases", options.give, len(cases))
        return 0
    known = Knowledge(path, state, stages[0].assets).known
    found = [NearCase(case, 1.0, ()) for case in known.cases]
    if options.find is not None:
        found = known.find(options.find)
    elif options.alarm is not None:
        seen = _seen(options.alarm, site.alarms, _raised(state / "journal.db"))
        found = known.nearest(seen, stages[0].near, stages[0].most)
    for one in found:
        print(json.dumps(one.as_json(), ensure_ascii=False) if options.json else _lines(one), flush=True)
    if not found:
        log.info("none of %d cases is like that", len(known.cases))
    return 0


def _seen(key: str, alarms: Mapping[str, Any], raised: Mapping[str, Event]) -> SeenAlarm:
    """An alarm of the site as if it were raised now, by what its stages raised last; or the last anomaly of a stage."""
    if key in alarms:
        alarm = alarms[key]
        stages = sorted({tag.partition(".")[0] for tag in compile_expression(alarm.when).names} & raised.keys())
        reasons = [reason for stage in stages for reason in raised[stage].data.get("reasons", ())]
        data = {"when": alarm.when, "reasons": reasons}
        return seen_of(Event("alarm", key, "raised", text=alarm.text, data=data))
    if key in raised:
        return seen_of(raised[key])
    near = difflib.get_close_matches(key, [*alarms, *raised], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*alarms, *raised]) or 'none'}"
    raise LinesideError(f"no alarm is called {key!r}, and the journal holds no anomaly of such a stage", hint=hint)


def _raised(journal: Path) -> dict[str, Event]:
    """The last anomaly of each stage, whether or not it stands."""
    found = events_of(journal, "anomaly") if journal.exists() else ()
    return {event.key: event for event in found if event.state == "raised"}


def _lines(one: NearCase) -> str:
    """A case for people."""
    case = one.case
    head = f"{case.id}  {case.symptom}" + (f"  ({one.near:.0%}: {', '.join(one.why)})" if one.why else "")
    where = ", ".join(filter(None, (case.asset, case.component)))
    rows = [("at", where), ("cause", case.cause), ("remedy", case.remedy), ("parts", ", ".join(case.parts))]
    rows += [("pictures", " ".join(case.pictures)), ("source", case.source)]
    return "\n".join([head, *(f"  {name:<9}{text}" for name, text in rows if text)])


def _take(path: Path, given: Path) -> int:
    old, new = read_cases(path) if path.exists() else [], read_cases(given)
    whole = merged_cases(old, new)
    again = len(old) + len(new) - len(whole)
    write_cases(path, whole)
    read_cases(path)
    log.info("%s: %d cases, %d of them new and %d anew", path, len(whole), len(new) - again, again)
    log.info("a daemon that runs knows them with the next alarm")
    return 0
