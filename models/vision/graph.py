"""What a network's file tells of its inputs and outputs, and what Lineside can do with such a one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge import ModelRefused

from ..engines.contract import Tensor
from .objects import EXTRA, told

TASKS = ("classify", "heatmap", "objects")
LIMITS = (16, 8192)  # pixels a side
Range = tuple[float, list[float], list[float]]  # white, mean, std
RANGES: dict[str, Range] = {
    "0..1": (1.0, [0.0], [1.0]),
    "0..255": (255.0, [0.0], [1.0]),
    "-1..1": (1.0, [0.5], [0.5]),
    "imagenet": (1.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


@dataclass(frozen=True)
class Wishes:
    """What the person said; empty is undecided."""

    labels: Sequence[str]
    task: str = ""
    size: tuple[int, int] | None = None
    normalise: Range | None = None
    colour: str = "rgb"
    gives: Mapping[str, str] = field(default_factory=dict)
    first: int | None = None
    full: float = 0.0


def decide(inputs: Sequence[Tensor], outputs: Sequence[Tensor], wishes: Wishes, engine: str) -> dict[str, Any]:
    """task, size, given, gives and labels of model.yaml. Raises ModelRefused with what to do."""
    picture = _picture(inputs)
    layout, channels, sides = _axes(picture)
    size = _size(picture, sides, wishes, engine)
    task, gives = _task(outputs, size, wishes, engine)
    inner = task == "objects" and layout == "chw"  # torchvision's: scaled and normalised in the graph
    white, mean, std = _range(picture, wishes, inner)
    if wishes.colour == "bgr":
        mean, std = mean[::-1], std[::-1]
    given = {
        "name": picture.name,
        "layout": layout,
        "colour": "grey" if channels == 1 else wishes.colour,
        "white": white,
        "mean": mean,
        "std": std,
        "fit": "pad" if task == "objects" else "stretch",
    }
    labels = {} if task == "heatmap" else {"labels": list(wishes.labels)}
    if task != "heatmap" and not wishes.labels:
        raise ModelRefused("nothing in the file names what it finds", hint="say --labels, in the order of its numbers")
    if task == "objects":
        gives["gives"]["first"] = _first(gives["gives"], outputs, wishes, inner, engine)
    return {"task": task, "size": list(size), "given": given} | labels | gives


def _first(gives: Mapping[str, Any], outputs: Sequence[Tensor], wishes: Wishes, inner: bool, engine: str) -> int:
    """Number of the first label; only a layout says it: torchvision's ([3, h, w] in, int64 out) has the background as 0, rows and
    TFLite's detectors have none. Raises ModelRefused for others."""
    if wishes.first is not None:
        return wishes.first
    labels = [np.dtype(spec.dtype) for spec in outputs if spec.name == gives.get("labels")]
    if engine != "onnx" or not labels:
        return 0
    if inner and labels[0] == np.int64:
        return 1
    name = wishes.labels[0]
    raise ModelRefused(
        f"whether its label 0 ({gives['labels']}) is {name!r} or the background is not in the file",
        hint=f"say --first 0 where 0 is {name!r}, or --first 1 where 0 is the background and 1 is {name!r}",
    )


def _picture(inputs: Sequence[Tensor]) -> Tensor:
    found = [spec for spec in inputs if spec.name not in EXTRA]
    if len(found) > 1:
        raise ModelRefused(
            f"it takes {_list(found)}: more than one picture, and a tool gives it one",
            hint="export it with the picture as its only input",
        )
    if not found or len(found[0].shape) not in (3, 4):
        raise ModelRefused(
            f"it takes {_list(inputs)}, which is no picture", hint="wanted is [1, channels, height, width] or alike"
        )
    kind = np.dtype(found[0].dtype)
    if kind not in (np.float32, np.float16, np.uint8, np.int8):
        raise ModelRefused(f"it takes {_list(found)} of {kind}", hint="wanted are float32, float16, uint8 or int8")
    return found[0]


def _axes(spec: Tensor) -> tuple[str, int, tuple[int | None, int | None]]:
    """(layout, channels, (height, width)); a side is None where it may have any length."""
    axes = [None if axis in spec.free else n for axis, n in enumerate(spec.shape)]
    if len(axes) == 4 and axes[0] not in (1, None):
        raise ModelRefused(f"it takes {axes[0]} pictures at once: {told(spec)}", hint="export it for a batch of one")
    inner = axes[1:] if len(axes) == 4 else axes
    first, last = inner[0] in (1, 3), inner[2] in (1, 3)
    if len(axes) == 4 and last and not first:
        return "nhwc", int(inner[2] or 0), (inner[0], inner[1])
    if first:
        return "nchw" if len(axes) == 4 else "chw", int(inner[0] or 0), (inner[1], inner[2])
    raise ModelRefused(
        f"it takes {told(spec)}: no axis has the 1 or 3 channels of a picture",
        hint="export it with a fixed number of channels",
    )


def _size(spec: Tensor, sides: tuple[int | None, int | None], wishes: Wishes, engine: str) -> tuple[int, int]:
    if engine == "tflite" and None in sides:
        raise ModelRefused(f"it takes pictures of any size: {_list([spec])}", hint="convert it for one size")
    if None in sides and wishes.size is None:
        raise ModelRefused(
            f"it takes pictures of any size: {_list([spec])}; time and memory have to be known before",
            hint="say --size HEIGHT,WIDTH: every picture is brought to it",
        )
    asked = wishes.size or (None, None)
    if any(have and want and have != want for have, want in zip(sides, asked, strict=True)):
        raise ModelRefused(f"it takes {told(spec)}, and --size says {asked[0]},{asked[1]}", hint="leave --size away")
    height, width = (int(have or want or 0) for have, want in zip(sides, asked, strict=True))
    if not (LIMITS[0] <= height <= LIMITS[1] and LIMITS[0] <= width <= LIMITS[1]):
        raise ModelRefused(f"pictures of {width} x {height}: a side has {LIMITS[0]} to {LIMITS[1]} pixels")
    return height, width


def _range(spec: Tensor, wishes: Wishes, inner: bool) -> Range:
    if wishes.normalise:
        return wishes.normalise
    kind = np.dtype(spec.dtype)
    if kind.kind in "iu" and spec.scale:
        ends = [(q - spec.zero) * spec.scale for q in (np.iinfo(kind).min, np.iinfo(kind).max)]
        for white, mean, std in (RANGES[name] for name in ("0..1", "0..255", "-1..1")):
            wanted = [(value - mean[0]) / std[0] for value in (0.0, white)]
            if np.allclose(ends, wanted, atol=0.02 * (wanted[1] - wanted[0])):
                return white, mean, std
    if kind == np.uint8 and not spec.scale:
        return RANGES["0..255"]
    if inner:
        return RANGES["0..1"]
    raise ModelRefused(
        f"what it takes for black and white is not in the file ({spec.name}, {kind})",
        hint=f"say how its training scaled a picture: --normalise {', '.join(RANGES)}, or MEAN,MEAN,MEAN/STD,STD,STD of 0 to 1",
    )


def _task(outputs: Sequence[Tensor], size: tuple[int, int], wishes: Wishes, engine: str) -> tuple[str, dict[str, Any]]:
    if wishes.task in ("", "objects") and (wishes.gives or any(_last(spec) in (4, 6) for spec in outputs)):
        gives = _named(outputs, wishes, engine)
        if gives and not wishes.task and len(outputs) == 1 and len(wishes.labels) == 6:
            told_twice = "six numbers, one for each class, or rows of label, score and box"
            raise ModelRefused(f"it gives {_list(outputs)}: {told_twice}", hint="say --task classify or --task objects")
        if gives:
            return "objects", {"gives": gives}
    if wishes.task in ("", "classify") and len(outputs) == 1 and not _open(outputs[0]):
        many = int(np.prod(outputs[0].shape))
        if many == max(outputs[0].shape) and many > 1:
            if many != len(wishes.labels):
                raise ModelRefused(
                    f"it gives {many} numbers, one for each class, and --labels names {len(wishes.labels)}",
                    hint="name them all in its order; the first one is the good part",
                )
            return "classify", {}
    if wishes.task in ("", "heatmap") and len(maps := [spec for spec in outputs if _is_map(spec, size)]) == 1:
        return "heatmap", {"map": maps[0].name, "full": wishes.full or 1.0}
    raise ModelRefused(f"it gives {_list(outputs)}: {_why_not(outputs)}", hint=HINT)


HINT = (
    "wanted is one number for each class, one for each place, or boxes, scores and labels that are sorted out already; "
    "say which output is what: --gives boxes=NAME,scores=NAME,labels=NAME[,masks=NAME], or --gives rows=NAME"
)


def _why_not(outputs: Sequence[Tensor]) -> str:
    shapes = [spec.shape for spec in outputs]
    if len(outputs) == 1 and len(shapes[0]) == 3 and max(shapes[0]) > 1000 and not _open(outputs[0]):
        return "boxes that are not sorted out yet: export it with the suppression of doubles (NMS) in the graph"
    if any(len(shape) >= 3 and sorted(shape)[-2] > 8 for shape in shapes):
        return "classes or several numbers for each pixel, by which no tool judges"
    return "it is not plain what that is"


def _named(outputs: Sequence[Tensor], wishes: Wishes, engine: str) -> dict[str, Any]:
    """`gives` of model.yaml; empty where it is not plain."""
    names = [spec.name for spec in outputs]
    where = {"corners": "yxyx", "unit": "share"} if engine == "tflite" else {}
    if wishes.gives:
        if absent := [
            name for key, name in wishes.gives.items() if key not in ("corners", "unit") and name not in names
        ]:
            raise ModelRefused(f"it does not give {', '.join(absent)}", hint=f"it gives {_list(outputs)}")
        return where | dict(wishes.gives)
    if names[0].startswith("TFLite_Detection_PostProcess") and len(names) == 4:
        return where | dict(zip(("boxes", "labels", "scores"), names, strict=False))
    rows = [spec for spec in outputs if _last(spec) == 6 and len(spec.shape) == 2 and (spec.free or spec.shape[0] > 1)]
    planes = [spec.name for spec in outputs if len(spec.shape) >= 3 and _last(spec) not in (4, 6)]
    masks = {"masks": planes[0]} if len(planes) == 1 else {}
    if len(rows) == 1:
        return {"rows": rows[0].name} | masks
    boxes = [spec for spec in outputs if _last(spec) == 4]
    each = [spec for spec in outputs if _one_each(spec) and spec not in boxes]
    labels = [spec for spec in each if np.dtype(spec.dtype).kind in "iu" or _means(spec, "label", "class", "cls")]
    scores = [spec for spec in each if spec not in labels]
    if len(scores) > 1:
        scores = [spec for spec in scores if _means(spec, "score", "conf", "prob")]
    if not len(boxes) == len(labels) == len(scores) == 1:
        return {}
    return where | {"boxes": boxes[0].name, "scores": scores[0].name, "labels": labels[0].name} | masks


def _last(spec: Tensor) -> int:
    fixed = len(spec.shape) in (2, 3) and len(spec.shape) - 1 not in spec.free
    return spec.shape[-1] if fixed and (len(spec.shape) == 2 or spec.shape[0] == 1) else 0


def _is_map(spec: Tensor, size: tuple[int, int]) -> bool:
    """[1, 1, h, w], [1, h, w] or [1, h, w, 1] of numbers that are no classes, with the proportions of the picture."""
    sides = [n for axis, n in enumerate(spec.shape) if n > 1 or (axis in spec.free and axis)]
    numbers = np.dtype(spec.dtype).kind == "f" or spec.scale
    if not numbers or len(spec.shape) < 3 or len(sides) != 2:
        return False
    return 1 in sides or (min(sides) >= 4 and abs(sides[0] * size[1] / (sides[1] * size[0]) - 1) < 0.2)


def _open(spec: Tensor) -> bool:
    """Whether more than a batch may have any length."""
    return bool(set(spec.free) - {0})


def _one_each(spec: Tensor) -> bool:
    """A number for each of many boxes: [n] or [1, n]."""
    return (len(spec.shape) == 1 and (spec.shape[0] > 1 or bool(spec.free))) or (
        len(spec.shape) == 2 and spec.shape[0] == 1
    )


def _means(spec: Tensor, *words: str) -> bool:
    return any(word in spec.name.lower() for word in words)


def _list(specs: Sequence[Tensor]) -> str:
    return ", ".join(f"{spec.name} {told(spec)}" for spec in specs) or "nothing"
