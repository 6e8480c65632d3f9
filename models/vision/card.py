"""What a person has to know of a package that was imported or taught, from its figures."""

from __future__ import annotations

from typing import Any

from ..package import Description

FAR = 1.5  # times the median of the other good parts, from which on the highest of them may be none


def card(name: str, figures: dict[str, Any]) -> str:
    """card.md: what a person has to know before trusting it."""
    return f"# {name}\n\n" + "".join(f"- {line}\n" for line in lines(figures))


def taught_card(name: str, model: Description, told: dict[str, Any]) -> str:
    """card.md of a package that was taught on the device, from its certificate."""
    best, board = max(told["finds"], key=lambda one: one["noticed"]), told["board"]
    what = best.get("drawn") or f"a spot of {best['across_px']} px, {best['grey_levels']} grey levels off"
    said = (
        f"a model of what is normal, for the tool `{model.task}`, taught on {told['made']} in {told['took_s']:.1f} s",
        f"data: {model.data}",
        f"licence: {model.licence}",
        "seed: fixed, the same defects are put on the good parts each time",
        f"OK below {told['ok_below']:g}, NG from {told['ng_above']:g}",
        f"good parts that are looked at again: {told['good_parts_looked_at_again']}",
        f"of defects that were put on good parts it notices at best: {what}, {best['noticed']:.0%} ({best['ng']:.0%} NG)",
        f"int8 differs by {told['int8']['differs_at_most']:g} at most from what it was computed from",
        f"{told['ms']['median']:g} ms a part, at most {told['ms']['most']:g}, on {board['cpu']}; all figures: certificate.json",
    )
    return f"# {name}\n\n" + "".join(f"- {line}\n" for line in said)


def lines(figures: dict[str, Any]) -> list[str]:
    height, width = figures["size"]
    given, many, states = figures["given"], figures["pictures"], figures["verdicts"]
    kind = {"objects": "a detector", "classify": "a classifier", "heatmap": "a map of what is unlike good parts"}[
        figures["task"]
    ]
    told = [
        f"{kind} from {figures['file']} ({figures['bytes'] / 1e6:.1f} MB, engine {figures['engine']})",
        f"tells apart: {', '.join(figures['labels'][:20])}{' ...' * (len(figures['labels']) > 20)}"
        if figures["labels"]
        else f"its map says {figures['full']:g} where the score is 1; OK is what stays below {_good(figures)}",
        f"takes {width} x {height} {given['colour']}, 0 to {given['white']:g}{_scaled(given)}; "
        f"another size is brought to it ({given['fit']})",
        f"{figures['ms']['median']:.0f} ms a picture, at most {figures['ms']['most']:.0f} (CPU {figures['ms']['cpu']:.0f}), "
        f"{figures['memory_mb']} MB, "
        f"on {figures['board']['cpu']}",
    ]
    if (good := figures["good"]) and good["top"] > FAR * good["median"]:
        told.append(
            f"LOOK AT {good['worst']}: its map says {good['top']:g} there, and {good['median']:g} of the others (median). "
            "Is it a good part? What is no worse than it will be OK; import it anew without it where it is none"
        )
    if (figures["gives"] or {}).get("first"):
        told.append(f"its class 0 is taken for the background, 1 for {figures['labels'][0]} (else say --first 0)")
    if many:
        told.append(f"on {many} pictures: {states['ok']} OK, {states['recheck']} RECHECK, {states['ng']} NG")
        if figures["task"] == "objects" and not states["recheck"] + states["ng"]:
            told.append(
                "nothing was found in them: its golden vectors prove little. Show it parts with defects (--samples)"
            )
    else:
        told.append("tried on drawn pictures only: its golden vectors prove little. Show it parts (--samples FOLDER)")
    if (parity := figures["parity"]) is not None:
        told.append(
            f"beside {parity['float']}: scores differ by {parity['differs_most']:g} at most, "
            f"{parity['differs_mean']:g} in the mean ({parity['with_findings']} of {parity['pictures']} pictures); "
            f"{parity['verdicts_changed']:.1%} of the verdicts change"
        )
    return [*told, f"licence: {figures['licence']}; trained on: {figures['data']}"]


def _good(figures: dict[str, Any]) -> str:
    good = figures["good"]
    return f"the highest of {good['pictures']} good parts" if good else "what --full makes of it"


def _scaled(given: dict[str, Any]) -> str:
    mean, std = (", ".join(f"{number:g}" for number in given[key]) for key in ("mean", "std"))
    return "" if (mean, std) == ("0", "1") else f", less {mean}, divided by {std}"
