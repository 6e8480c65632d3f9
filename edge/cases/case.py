"""What a case says."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

MOST = 2000  # cases of a file


def _plain(text: str) -> str:
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ValueError("holds control characters; remove them")
    return text.strip()


def _one_line(text: str) -> str:
    if re.search(r"[;\t\n]", text) or text != _plain(text) or not text:
        raise ValueError(f"{text!r} has to be one line without a semicolon, and no blanks around it")
    return text


def _seen(text: str) -> str:
    if not text:
        raise ValueError("is empty; say what is seen, heard, smelled")
    return text


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"{text[:70]!r} is no SHA-256: 64 of 0-9 and a-f")
    return text


def _some(shares: dict[str, float]) -> dict[str, float]:
    if shares and not any(shares.values()):
        raise ValueError("all of them are 0, which looks like nothing")
    return shares


Text = Annotated[str, Field(max_length=2000), AfterValidator(_plain)]
Label = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Name = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Share = Annotated[float, Field(ge=-100, le=100)]  # of an anomaly's one may exceed 1, since others are below 0
Digest = Annotated[str, AfterValidator(_digest)]


class Signature(BaseModel):
    """How a machine tells that it is this case again."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    alarm: Label = Field("", description="key of the alarm, or name of the stage, that is raised")
    shares: Annotated[dict[Name, Share], AfterValidator(_some)] = Field(
        default_factory=dict,
        max_length=64,
        description="by tag, its share in the anomaly, negative where the tag is lower than usual; their proportions count",
    )


class Case(BaseModel):
    """One fault that was understood, or a part of it: only `id` and `symptom` have to be known."""

    model_config = {"extra": "forbid", "frozen": True}
    id: Name = Field(description="by which people call it; once in a file")
    symptom: Annotated[Text, AfterValidator(_seen)] = Field(description="what is seen, heard, smelled")
    asset: Label = Field("", description="what it happened to: the beginning of its tags' names, or a class of assets")
    component: Label = Field("", description="which part of the asset")
    signature: Signature = Field(default_factory=Signature, description="how a machine tells it")
    cause: Text = Field("", description="why it happened")
    remedy: Text = Field("", description="what helped")
    parts: list[Name] = Field(default_factory=list, max_length=50, description="what was needed, each with its number")
    pictures: list[Digest] = Field(default_factory=list, max_length=20, description="SHA-256 of each")
    source: Text = Field("", description="who says so: a work order, a manual, a name")


class CaseFile(BaseModel):
    """A file of cases."""

    model_config = {"extra": "forbid", "frozen": True}
    cases: list[Case] = Field(max_length=MOST, description="each with its `id`")
