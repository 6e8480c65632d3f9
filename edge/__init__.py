"""Lineside's public names: what a driver, a stage or a reader needs, and nothing else."""

from .batch import TRUSTED, Batch, Quality, concatenate
from .clock import SECOND, Clock, ManualClock, SystemClock
from .config.types import Duration, Identifier, Period, Size
from .driver import Driver, DriverConfig, Grid, Point, Poller, Source, Writable
from .errors import (
    AnswerContradicts,
    ConfigFault,
    DeviceLost,
    DeviceRefused,
    DeviceSilent,
    LinesideError,
    ModelRefused,
    WriteRefused,
)
from .event import Event, Job, Picture, Tick, Write
from .frame import Frame, FramePool
from .health import Health
from .log import log
from .reader import Cursor, Reader, Record
from .stage import Stage, StageConfig, StatelessStage
from .tags import Tag, TagTable

__all__ = [
    "SECOND",
    "TRUSTED",
    "AnswerContradicts",
    "Batch",
    "Clock",
    "ConfigFault",
    "Cursor",
    "DeviceLost",
    "DeviceRefused",
    "DeviceSilent",
    "Driver",
    "DriverConfig",
    "Duration",
    "Event",
    "Frame",
    "FramePool",
    "Grid",
    "Health",
    "Identifier",
    "Job",
    "LinesideError",
    "ManualClock",
    "ModelRefused",
    "Period",
    "Picture",
    "Point",
    "Poller",
    "Quality",
    "Reader",
    "Record",
    "Size",
    "Source",
    "Stage",
    "StageConfig",
    "StatelessStage",
    "SystemClock",
    "Tag",
    "TagTable",
    "Tick",
    "Writable",
    "Write",
    "WriteRefused",
    "concatenate",
    "log",
]
