"""Model packages: a folder with `model.yaml`, weights and golden vectors, trusted only after it proved itself on this box.

Its golden vectors run in a child process first, with a time limit: a truncated or hostile model may crash or hang that
child, never the daemon.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from edge import ModelRefused, read_yaml

from .engines.contract import Interpreter, bounded, choose

SHIPPED = Path(__file__).parent / "packages"
PROVE_WITHIN = 60.0  # seconds


class Description(BaseModel):
    """`model.yaml`."""

    model_config = {"extra": "forbid", "frozen": True}
    name: str
    version: int = Field(ge=1)
    task: Literal["classify"]
    engine: Literal["tflite", "onnx"]
    weights: str = Field(pattern=r"^[\w.-]+$", description="file beside this one")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the weights")
    crop: tuple[PositiveInt, PositiveInt] = Field(description="height and width cut from the middle of a picture")
    size: tuple[PositiveInt, PositiveInt] = Field(
        description="height and width the network wants; the cut is averaged down to it"
    )
    labels: list[str] = Field(min_length=2, description="of the outputs; the first one is the good part")
    ng_above: float = Field(gt=0, lt=1, description="probability of any defect from which a part is NG")
    ok_below: float = Field(gt=0, lt=1, description="and below which it is OK; between them it is looked at again")
    tolerance: int = Field(2, ge=0, le=32, description="steps an output may differ from the golden one")
    licence: str
    data: str = Field(description="what it was trained on")

    @model_validator(mode="after")
    def _between(self) -> Description:
        if self.ok_below > self.ng_above:
            raise ValueError(f"ok_below {self.ok_below:g} is above ng_above {self.ng_above:g}: one part would be both")
        return self


class Package:
    """A description and where it lies. `interpreter()` gives a fresh one for each thread."""

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder, self.description = folder, description

    def interpreter(self, threads: int = 1) -> Interpreter:
        """Raises ModelRefused, also where the files are no longer those that proved themselves."""
        if describe(self.folder) != self.description:
            raise ModelRefused(f"{self.folder.name} was exchanged since it proved itself", hint="apply the site again")
        return choose(self.description.engine).load(self.folder / self.description.weights, threads)


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
        description = Description.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        said = first["msg"].removeprefix("Value error, ")
        raise ModelRefused(f"{folder / 'model.yaml'}: {where}{said}") from None
    weights = bounded(folder / description.weights).read_bytes()
    if (found := hashlib.sha256(weights).hexdigest()) != description.sha256:
        raise ModelRefused(f"{description.weights} is not the file that model.yaml names (sha256 {found[:12]}...)")
    return description


def load(folder: Path) -> Package:
    """A package that proved itself; once for the same bytes. Blocks for as long as its golden vectors take. Raises
    ModelRefused."""
    description, seal = describe(folder), hashlib.sha256()
    for path in (folder / "model.yaml", folder / "golden.npz"):
        if path.is_file():
            with path.open("rb") as file:
                seal.update(hashlib.file_digest(file, "sha256").digest())
    return _proved(folder, description.sha256 + seal.hexdigest())


@cache
def _proved(folder: Path, seal: str) -> Package:
    description = describe(folder)
    words = [sys.executable, "-P", "-m", "models.package", str(folder)]  # -P: nothing comes from where we were started
    try:
        child = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=PROVE_WITHIN)
    except subprocess.TimeoutExpired:
        raise ModelRefused(f"{folder.name} did not answer within {PROVE_WITHIN:g} s") from None
    if child.returncode:
        said = (child.stdout.strip().splitlines() or ["it crashed the interpreter"])[-1]
        raise ModelRefused(f"{folder.name} is refused: {said}", hint="copy the package here anew")
    return Package(folder, description)


def prove(folder: Path) -> None:
    """Run the golden vectors here. Raises ModelRefused. In a child, since the interpreter may crash."""
    package = Package(folder, describe(folder))
    try:
        with np.load(folder / "golden.npz", allow_pickle=False) as golden:
            given, wanted = golden["input"], golden["output"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelRefused(f"its golden.npz cannot be read ({type(error).__name__})") from None
    if not len(given):
        raise ModelRefused("its golden.npz holds no vector: nothing is proved")
    run = package.interpreter()
    for i, (picture, answer) in enumerate(zip(given, wanted, strict=True)):
        (got,) = run(picture[None])
        far = steps(got.ravel(), answer.ravel())
        if not far <= package.description.tolerance:  # also what is no number
            raise ModelRefused(
                f"golden vector {i} is off by {far:.3g} steps, {package.description.tolerance} are allowed"
            )
        if int(got.ravel().argmax()) != int(answer.ravel().argmax()):
            raise ModelRefused(f"golden vector {i} is decided otherwise")
    labels, (got,) = package.description.labels, run(np.zeros((1, *package.description.size, 1), np.int8))
    if got.size != len(labels):
        raise ModelRefused(f"it gives {got.size} numbers for {len(labels)} labels")


def steps(got: np.ndarray, wanted: np.ndarray) -> float:
    """How far apart two answers are at most: in their own steps, or where they are no integers in 255ths of the wanted range."""
    step = 1.0 if wanted.dtype.kind in "iu" else float(np.ptp(wanted)) / 255 or 1.0
    return float(np.abs(got.astype(float) - wanted.astype(float)).max()) / step


def main() -> int:
    try:
        with suppress(OSError):  # a model that takes all memory takes this child along, not the daemon
            Path("/proc/self/oom_score_adj").write_text("1000")
        prove(Path(sys.argv[1]))
    except Exception as error:  # the engines' errors share no base
        print(" ".join(str(error).split())[:300] or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
