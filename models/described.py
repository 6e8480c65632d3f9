"""What every `model.yaml` says, whatever the task."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from edge import ConfigFault

Side = Annotated[int, Field(ge=16, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]


class Described(BaseModel):
    """What every `model.yaml` says."""

    model_config = {"extra": "forbid", "frozen": True}
    name: str
    version: int = Field(ge=1)
    engine: Literal["tflite", "onnx"]
    weights: str = Field(pattern=r"^[\w.-]+$", description="file beside this one")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the weights")
    ng_above: float = Field(gt=0, lt=1, description="probability of any defect from which a part is NG")
    ok_below: float = Field(gt=0, lt=1, description="and below which it is OK; between them it is looked at again")
    tolerance: int = Field(2, ge=0, le=32, description="steps an output may differ from the golden one")
    licence: str
    data: str = Field(description="what it was trained on")

    @model_validator(mode="after")
    def _between(self) -> Self:
        if self.ok_below > self.ng_above:
            raise ValueError(f"ok_below {self.ok_below:g} is above ng_above {self.ng_above:g}: one part would be both")
        return self

    def limits(self, of: str, model: str, ng_above: float | None, ok_below: float | None) -> tuple[float, float]:
        """(ng_above, ok_below) for the stage or tool `of`, which may give its own. Raises ConfigFault where they cross."""
        above, below = ng_above or self.ng_above, ok_below or self.ok_below
        if below > above:
            raise ConfigFault(
                f"{of}: ok_below {below:g} is above ng_above {above:g}",
                hint=f"{model} itself says {self.ok_below:g} and {self.ng_above:g}",
            )
        return above, below
