"""Lineside's public names: what a driver, a stage or a reader needs, and nothing else."""

from .anew import needs as alarm_needs
from .batch import TRUSTED, Batch, Quality, concatenate
from .blocks import Blocks, SampleType
from .blocks import samples as samples_of
from .bounds import below as rate_below
from .bounds import binomial, wilson
from .bounds import by_chance as most_by_chance
from .bounds import needed as parts_needed
from .cases.case import MOST as MOST_CASES
from .cases.case import Case, Signature
from .cases.files import KINDS as CASE_KINDS
from .cases.files import MOST_BYTES as MOST_CASE_BYTES
from .cases.files import OF_PLANE as CASES_OF_PLANE
from .cases.files import joined as joined_cases
from .cases.files import merged as merged_cases
from .cases.files import packed as packed_case
from .cases.files import parse as parse_cases
from .cases.files import read as read_cases
from .cases.files import shares_of as shares_said
from .cases.files import text_of as text_of_cases
from .cases.files import unpacked as unpacked_cases
from .cases.files import write as write_cases
from .cases.nearest import Known as KnownCases
from .cases.nearest import Near as NearCase
from .cases.nearest import Seen as SeenAlarm
from .cases.nearest import seen_of
from .cases.words import asked as asked_words
from .cases.words import indexed as words_of_case
from .cells import NotCsv
from .cells import bare as bare_cell
from .cells import rows as csv_rows
from .cells import safe as safe_cell
from .chain import Chain, hash_of
from .clock import SECOND, Clock, ManualClock, SystemClock, is_sure
from .codec import (
    CodecFault,
    content,
    decode,
    decode_event,
    decode_scans,
    decode_text,
    encode,
    encode_event,
    encode_text,
    pieces,
)
from .commands.arguments import between, since_until, site_and_state
from .commands.fit import history as tag_history
from .commands.table import EMPTY as EMPTY_CELLS
from .commands.table import cells_of as table_cells
from .config.bind import bind as bind_options
from .config.dump import shown as shown_yaml
from .config.dump import written as written_yaml
from .config.layers import changes as site_changes
from .config.layers import difference as site_difference
from .config.layers import document as read_document
from .config.layers import elsewhere, lacks
from .config.layers import laid as laid_documents
from .config.layers import origins as origins_of
from .config.load import load as load_site
from .config.load import load_tree
from .config.options import tables as option_tables
from .config.places import Place, Tree, read_yaml
from .config.places import read as read_tree
from .config.templates import Templated
from .config.types import Duration, Identifier, Listen, Period, Size, listen_at, only_here, site_folder
from .control import NoDaemon
from .control import ask as ask_daemon
from .diagnosis import without_secrets
from .driver import Driver, DriverConfig, Point, ReadPlan, Source, Writable
from .errors import (
    AnswerContradicts,
    ConfigFault,
    DeviceLost,
    DeviceRefused,
    DeviceSilent,
    LinesideError,
    ModelRefused,
    WriteRefused,
    reason_of,
)
from .event import Answer, Event, Job, Picture, Tick, Write, plain_data
from .expressions import Expression, ExpressionFault, compile_expression
from .frame import Frame, FramePool
from .health import Health
from .links import CANDIDATE, CURRENT, PREVIOUS, led_to, point, to_disk, version_of
from .log import log
from .log import recent as recent_lines
from .memo import joined
from .migrations import sample_of as release_sample
from .parquet import write as write_parquet
from .plugins import find as find_part
from .png import png
from .poller import Grid, Poller
from .reader import Cursor, Host, Reader, Record
from .recording import Recording, WireFrame, read_recording
from .records import batches as journal_batches
from .records import (
    events_of,
    gaps_told,
    last_numbers,
    numbered_events,
    sound_events,
    stored_pictures,
    tag_name,
    tag_names,
)
from .records import reading as journal_reading
from .records import snapshots as kept_snapshots
from .records import texts as journal_texts
from .release import Trial as ReleaseTrial
from .release import begin as begin_release
from .release import ended as release_ended
from .release import home_of as release_home
from .release import on_trial as release_on_trial
from .release import running as running_release
from .retention import lack
from .retried import Stood, Tried
from .retried import compare as alike_alarms
from .retried import from_journal as alarms_of_journal
from .reviews import name_of as name_of_review
from .span import held
from .stage import NewModel, Setting, Stage, StageConfig, StatelessStage
from .state import model_home, state_folder
from .tags import Tag, TagTable
from .tags import named as tag_named
from .transplant import planted as journal_planted
from .transplant import taken as journal_taken

__all__ = [
    "CANDIDATE",
    "CASES_OF_PLANE",
    "CASE_KINDS",
    "CURRENT",
    "EMPTY_CELLS",
    "MOST_CASES",
    "MOST_CASE_BYTES",
    "PREVIOUS",
    "SECOND",
    "TRUSTED",
    "Answer",
    "AnswerContradicts",
    "Batch",
    "Blocks",
    "Case",
    "Chain",
    "Clock",
    "CodecFault",
    "ConfigFault",
    "Cursor",
    "DeviceLost",
    "DeviceRefused",
    "DeviceSilent",
    "Driver",
    "DriverConfig",
    "Duration",
    "Event",
    "Expression",
    "ExpressionFault",
    "Frame",
    "FramePool",
    "Grid",
    "Health",
    "Host",
    "Identifier",
    "Job",
    "KnownCases",
    "LinesideError",
    "Listen",
    "ManualClock",
    "ModelRefused",
    "NearCase",
    "NewModel",
    "NoDaemon",
    "NotCsv",
    "Period",
    "Picture",
    "Place",
    "Point",
    "Poller",
    "Quality",
    "ReadPlan",
    "Reader",
    "Record",
    "Recording",
    "ReleaseTrial",
    "SampleType",
    "SeenAlarm",
    "Setting",
    "Signature",
    "Size",
    "Source",
    "Stage",
    "StageConfig",
    "StatelessStage",
    "Stood",
    "SystemClock",
    "Tag",
    "TagTable",
    "Templated",
    "Tick",
    "Tree",
    "Tried",
    "WireFrame",
    "Writable",
    "Write",
    "WriteRefused",
    "alarm_needs",
    "alarms_of_journal",
    "alike_alarms",
    "ask_daemon",
    "asked_words",
    "bare_cell",
    "begin_release",
    "between",
    "bind_options",
    "binomial",
    "compile_expression",
    "concatenate",
    "content",
    "csv_rows",
    "decode",
    "decode_event",
    "decode_scans",
    "decode_text",
    "elsewhere",
    "encode",
    "encode_event",
    "encode_text",
    "events_of",
    "find_part",
    "gaps_told",
    "hash_of",
    "held",
    "is_sure",
    "joined",
    "joined_cases",
    "journal_batches",
    "journal_planted",
    "journal_reading",
    "journal_taken",
    "journal_texts",
    "kept_snapshots",
    "lack",
    "lacks",
    "laid_documents",
    "last_numbers",
    "led_to",
    "listen_at",
    "load_site",
    "load_tree",
    "log",
    "merged_cases",
    "model_home",
    "most_by_chance",
    "name_of_review",
    "numbered_events",
    "only_here",
    "option_tables",
    "origins_of",
    "packed_case",
    "parse_cases",
    "parts_needed",
    "pieces",
    "plain_data",
    "png",
    "point",
    "rate_below",
    "read_cases",
    "read_document",
    "read_recording",
    "read_tree",
    "read_yaml",
    "reason_of",
    "recent_lines",
    "release_ended",
    "release_home",
    "release_on_trial",
    "release_sample",
    "running_release",
    "safe_cell",
    "samples_of",
    "seen_of",
    "shares_said",
    "shown_yaml",
    "since_until",
    "site_and_state",
    "site_changes",
    "site_difference",
    "site_folder",
    "sound_events",
    "state_folder",
    "stored_pictures",
    "table_cells",
    "tag_history",
    "tag_name",
    "tag_named",
    "tag_names",
    "text_of_cases",
    "to_disk",
    "unpacked_cases",
    "version_of",
    "wilson",
    "without_secrets",
    "words_of_case",
    "write_cases",
    "write_parquet",
    "written_yaml",
]
