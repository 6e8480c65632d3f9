"""Model packages: a folder with `model.yaml`, weights and golden vectors, trusted only after it proved itself on this box.

Its golden vectors run in a child process first, with a time limit: a truncated or hostile model may crash or hang that
child, never the daemon.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar, get_args

import numpy as np
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, model_validator

from edge import ModelRefused, read_yaml

from . import proof
from .described import Described, Share, Side
from .engines.contract import Interpreter, bounded, choose
from .foreign import Given, HeatMap, Objects
from .vision.placing import RegistrationConfig

SHIPPED = Path(__file__).parent / "packages"
READS = {"tflite": ("tflite", "tflite-runtime"), "onnx": ("onnx",)}  # engines, by what a package names
ENGINES = {name for names in READS.values() for name in names}  # a plug-in's may read anything


class Classify(Described):
    """A picture in, a number for each label out."""

    task: Literal["classify"]
    crop: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="height and width cut from the middle of a picture; unset: all of it"
    )
    size: tuple[PositiveInt, PositiveInt] = Field(
        description="height and width the network wants; the cut is averaged down to it"
    )
    labels: list[str] = Field(min_length=2, description="of the outputs; the first one is the good part")
    given: Given | None = Field(None, description="what the network takes; unset: grey as int8, less 128")
    says: Literal["logits", "shares"] = Field("logits", description="logits, or shares of 1 (after a softmax)")


class Detect(Described):
    """A picture and its template in, or a picture alone; for each cell of a grid a number for each label, and the box of what lies
    there, out."""

    RIM: ClassVar[int] = 4  # cells of a piece that is looked at again in which its edge would speak along
    task: Literal["detect"]
    size: tuple[Side, Side] = Field(
        description="height and width the network wants; what is larger is judged in tiles that overlap"
    )
    alone: bool = Field(False, description="a picture is judged without a template")
    fit: Literal["tile", "scale"] = Field(
        "tile",
        description="scale: a picture of another size is scaled to the network's instead, its sides kept in proportion",
    )
    fold: int = Field(ge=1, le=16, description="neighbours in a row that the network takes as channels of one pixel")
    stride: int = Field(ge=1, le=64, description="pixels a cell is wide and high")
    unit: float = Field(gt=0, le=4096, description="pixels a box is wide and high where the network says 0")
    labels: list[str] = Field(min_length=1, max_length=256, description="of the defects")
    level: int | None = Field(None, ge=1, le=255, description="grey from which on a pixel is white; unset: grey stays")
    views: int = Field(
        1, ge=1, le=8, description="in how many of the eight ways to turn and mirror it a doubtful place is looked at"
    )
    doubt: tuple[Share, Share] = Field((0.03, 0.9), description="a place is doubtful whose score lies between these")
    look: Side = Field(96, description="pixels around a doubtful place that are looked at")

    @model_validator(mode="after")
    def _grid(self) -> Self:
        height, width = self.size
        if height % self.stride or width % self.stride or width % self.fold:
            raise ValueError(
                f"size {height} x {width} is no whole number of cells ({self.stride}) and folds ({self.fold})"
            )
        if self.look % (2 * self.stride) or self.look % self.fold:
            raise ValueError(f"look {self.look} is no even number of cells ({self.stride}) and folds ({self.fold})")
        if self.views > 1 and min(height, width) < self.look:
            raise ValueError(f"look {self.look} is more than the network sees, {height} x {width}")
        if self.look <= (2 * self.RIM + 1) * self.stride < min(height, width):
            raise ValueError(f"look {self.look} has to be more than {2 * self.RIM + 1} cells of {self.stride} pixels")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: one stands there twice")
        return self

    @property
    def channels(self) -> int:
        """Of what goes in: as many neighbours, of the picture alone or of it and its template."""
        return self.fold if self.alone else 2 * self.fold

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of what goes in, and of the two that come out."""
        (h, w), s = self.size, self.stride
        return (
            (1, h, w // self.fold, self.channels),
            (1, h // s, w // s, len(self.labels)),
            (1, h // s, w // s, 4),
        )


class Variation(Described):
    """A placed picture in; for each cell of STEP pixels how far it lies beyond what good parts do, as a share, out."""

    STEP: ClassVar[int] = 2
    WINDOW: ClassVar[int] = 4  # pixels that a cell takes together
    task: Literal["variation"]
    size: tuple[Side, Side] = Field(description="height and width of a picture")
    place: RegistrationConfig = Field(
        description="how a part is found in its picture; in template.png beside this file"
    )
    template: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of template.png, the mean of the good parts")

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of what goes in, and of what comes out."""
        height, width = ((n - self.WINDOW) // self.STEP + 1 for n in self.size)
        return (1, *self.size, 1), (1, height, width, 1)


class Texture(Described):
    """Numbers of a surface in (`vision/texture.py`); how far it lies towards each kind of defect, as a share, out."""

    CELL: ClassVar[int] = 8  # pixels
    FEATURES: ClassVar[int] = 728
    task: Literal["texture"]
    kinds: list[str] = Field(
        min_length=1, max_length=64, description="of the outputs: defects that were drawn to learn from"
    )
    usual: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of usual.npz: the mean of good parts, and what weighs"
    )
    light: tuple[float, float] = Field(description="mean grey level that a picture may have")
    rough: tuple[float, float] = Field(description="logarithm of the surface's own spread that it may have")

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of what goes in, and of what comes out."""
        return (1, 1, 1, self.FEATURES), (1, 1, 1, len(self.kinds))


Description = Classify | Detect | HeatMap | Objects | Texture | Variation
D = TypeVar("D", Classify, Detect, HeatMap, Objects, Texture, Variation)
READER: TypeAdapter[Description] = TypeAdapter(Annotated[Description, Field(discriminator="task")])


class Package:
    """A description and where it lies. `interpreter()` gives a fresh one for each thread."""

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder, self.description = folder, description

    def described(self, kind: type[D]) -> D:
        """What it says of itself, as a package of this task. Raises ModelRefused for one of another task."""
        if not isinstance(self.description, kind):
            has, wanted = self.description.task, kind.model_fields["task"].annotation
            raise ModelRefused(
                f"{self.folder.name} is a model to {has}, and here one to {get_args(wanted)[0]} is wanted"
            )
        return self.description

    def interpreter(self, threads: int = 1, engine: str = "", shape: tuple[int, ...] | None = None) -> Interpreter:
        """By the package's own engine, or the one of that name; for pictures of the size that `model.yaml` says, or for an input of
        another `shape`. Raises ModelRefused, also where the files are no longer those that proved themselves."""
        if describe(self.folder) != self.description:
            raise ModelRefused(f"{self.folder.name} was exchanged since it proved itself", hint="apply the site again")
        own, path = self.description.engine, self.folder / self.description.weights
        if engine in ENGINES and engine not in READS[own]:
            said = f"{self.folder.name} is a model for {own}, and {engine} does not read it"
            raise ModelRefused(said, hint=f"its engines are {', '.join(READS[own])}")
        return choose(engine or own).load(path, threads, shape=shape)


def find(name: str, beside: Path) -> Path:
    """The folder of a package: a path beside the site, or the name of a shipped one. Raises ModelRefused."""
    for folder in (beside / name, SHIPPED / name):
        if (folder / "model.yaml").is_file():
            return folder.resolve()
    have = ", ".join(sorted(p.parent.name for p in SHIPPED.glob("*/model.yaml")))
    raise ModelRefused(
        f"there is no model package {name!r}", hint=f"a folder beside the site, or a shipped one: {have}"
    )


def describe(folder: Path) -> Description:
    """Read `model.yaml` and check the weights against their digest. Raises ModelRefused."""
    data, problems = read_yaml(folder / "model.yaml")
    if problems or not isinstance(data, dict):
        raise ModelRefused("; ".join(problems) or f"{folder / 'model.yaml'}:1:1: expected options (key: value)")
    try:
        description = READER.validate_python(data)
    except ValidationError as error:
        raise ModelRefused(f"{folder / 'model.yaml'}: {_first_fault(error)}") from None
    weights = bounded(folder / description.weights).read_bytes()
    if (found := hashlib.sha256(weights).hexdigest()) != description.sha256:
        raise ModelRefused(f"{description.weights} is not the file that model.yaml names (sha256 {found[:12]}...)")
    return description


def _first_fault(error: ValidationError) -> str:
    """Where and what, in words; the place begins with the task, which nobody wrote there."""
    first = error.errors()[0]
    if first["type"].startswith("union_tag"):
        return "task: say one of classify, detect, heatmap, objects, texture, variation"
    where, said = ".".join(map(str, first["loc"][1:])), first["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def load(folder: Path) -> Package:
    """A package that proved itself; once for the same bytes. Blocks for as long as its golden vectors take. Raises
    ModelRefused."""
    description, seal = describe(folder), hashlib.sha256()
    for path in (folder / "model.yaml", folder / "golden.npz"):
        if path.is_file():
            with path.open("rb") as file:
                seal.update(hashlib.file_digest(file, "sha256").digest())
    found = _proved(folder, description.sha256 + seal.hexdigest())
    _loaded.add(folder)
    return found


def again() -> Iterator[tuple[str, str]]:
    """(name, why not, or "") of every package that this process loaded, its golden vectors run anew. Blocks."""
    for folder in sorted(_loaded):
        try:
            _proved.__wrapped__(folder, "")
            yield folder.name, ""
        except (ModelRefused, OSError) as error:
            yield folder.name, str(error)


_loaded: set[Path] = set()


@cache
def _proved(folder: Path, seal: str) -> Package:
    description = describe(folder)
    proof.in_child("models.package", folder)
    return Package(folder, description)


def prove(folder: Path) -> None:
    """Run the golden vectors here. Raises ModelRefused. In a child, since the interpreter may crash."""
    package = Package(folder, describe(folder))
    description = package.description
    if isinstance(description, HeatMap | Objects) or (isinstance(description, Classify) and description.given):
        from .vision import trial

        return trial.prove(package)
    names = ("input", "heat", "place") if isinstance(description, Detect) else ("input", "output")
    try:
        with np.load(folder / "golden.npz", allow_pickle=False) as golden:
            given, *wanted = (golden[name] for name in names)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelRefused(f"its golden.npz cannot be read ({type(error).__name__})") from None
    if not len(given):
        raise ModelRefused("its golden.npz holds no vector: nothing is proved")
    run = package.interpreter()
    if not isinstance(description, Classify) and (said := wrong_shape(run, description)):
        raise ModelRefused(said)
    for i, (picture, *answers) in enumerate(zip(given, *wanted, strict=True)):
        got = run(picture[None])
        for one, answer in zip(got, answers, strict=True):
            far = steps(one.ravel(), answer.ravel())
            if not far <= description.tolerance:  # also what is no number
                raise ModelRefused(f"golden vector {i} is off by {far:.3g} steps, {description.tolerance} are allowed")
        if not _same_decision(run, description, got, answers):
            raise ModelRefused(f"golden vector {i} is decided otherwise")
    if isinstance(description, Classify):
        labels, (out,) = description.labels, run(np.zeros((1, *description.size, 1), np.int8))
        if out.size != len(labels):
            raise ModelRefused(f"it gives {out.size} numbers for {len(labels)} labels")


def wrong_shape(run: Interpreter, description: Detect | Variation | Texture) -> str:
    """What of such a network is not as its description says; empty where all is."""
    given, *out = description.shapes
    have = [tuple(tensor.shape) for tensor in (*run.inputs, *run.outputs)]
    if have == [given, *out] and np.dtype(run.inputs[0].dtype) in (np.int8, np.float32):
        return ""
    shapes = ", ".join(str(shape) for shape in have)
    return f"its network takes and gives {shapes}; model.yaml says int8 or float {given}, {', '.join(map(str, out))}"


def _same_decision(
    run: Interpreter,
    description: Classify | Detect | Texture | Variation,
    got: list[np.ndarray],
    wanted: list[np.ndarray],
) -> bool:
    if isinstance(description, Classify):
        return int(got[0].ravel().argmax()) == int(wanted[0].ravel().argmax())
    if isinstance(description, Variation | Texture):
        spec = run.outputs[0]
        tops = [(float(said[0].max()) - spec.zero) * (spec.scale or 1.0) for said in (got, wanted)]
        return (tops[0] >= description.ng_above) == (tops[1] >= description.ng_above)
    from .vision import peaks

    heat, place = run.outputs
    one, two = (
        peaks.boxes(
            *peaks.read(said[0].reshape(heat.shape[1:]), said[1].reshape(place.shape[1:]), peaks.odds(heat), place),
            description,
            description.ng_above,
        )
        for said in (got, wanted)
    )
    return peaks.agree(one, two)


def steps(got: np.ndarray, wanted: np.ndarray) -> float:
    """How far apart two answers are at most: in their own steps, or where they are no integers in 255ths of the wanted range."""
    step = 1.0 if wanted.dtype.kind in "iu" else float(np.ptp(wanted)) / 255 or 1.0
    return float(np.abs(got.astype(float) - wanted.astype(float)).max()) / step


def main() -> int:
    return proof.here(prove)


if __name__ == "__main__":
    from models import package  # under this name its neighbours import the same classes

    sys.exit(package.main())
