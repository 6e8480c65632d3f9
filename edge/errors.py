"""Errors a person can act on: what happened, what to do, and whether it may heal by itself."""

from __future__ import annotations

import os
import re


class LinesideError(Exception):
    """Base of all errors raised on purpose. `hint` says what to do; `heals` whether trying again may help."""

    heals = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} ({self.hint})" if self.hint else text


class ConfigFault(LinesideError):
    """The site asks for something that cannot be."""


class DeviceLost(LinesideError):
    """No connection, or the connection broke."""

    heals = True


class DeviceSilent(LinesideError):
    """Connected, but no answer within the time-out."""

    heals = True


class DeviceRefused(LinesideError):
    """The device answered and said no (Modbus exception, OPC UA bad status)."""

    heals = True


class AnswerContradicts(LinesideError):
    """An answer that does not fit its request: never data."""

    heals = True


class WriteRefused(LinesideError):
    """A write that the site does not allow or that came too late."""


class JournalBusy(LinesideError):
    """Another daemon owns this journal."""


class ModelRefused(LinesideError):
    """A model package that did not prove itself on this box."""


def reason_of(error: OSError) -> str:
    """The cause alone: where a connection fails, asyncio's words repeat the address, several times for a name that has several."""
    failed = re.search(r"\[Errno (\d+)\] (?:Connect call failed|error while attempting to bind)", str(error))
    return os.strerror(int(failed[1])) if failed else error.strerror or str(error) or type(error).__name__
