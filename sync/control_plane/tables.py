"""The plane's tables (SQLAlchemy Core). A telemetry block is one row, as it came off the wire."""

from __future__ import annotations

import time

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()
PATH = String(200).with_variant(
    String(200, collation="C"), "postgresql"
)  # of the tree, see tree.py: compared by its letters

device = Table(
    "device",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("secret", String(64), nullable=False),
    Column("key", String(64), nullable=False, default="", server_default=""),
    Column("enrolled", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("revoked", Float, nullable=False, default=0.0, server_default="0"),
    Column("class", String(64), nullable=False, default="", server_default=""),
    Column("site", PATH, nullable=False, default="", server_default=""),
    Index("device_site", "site"),
)
issuer = Table(  # who signs for this plane, at whichever of its processes; see ca.py
    "issuer",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("pem", Text, nullable=False),
    Column("distrusted", Integer, nullable=False, default=0, server_default="0"),
    Column("word", Text, nullable=False, default="", server_default=""),  # of the root, that it is, see disown.py
)
invite = Table(
    "invite",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("expires", Float, nullable=False),
    Column("left", Integer, nullable=False, default=1, server_default="1"),
    Column("several", Integer, nullable=False, default=0, server_default="0"),
    Column("device", String(64), nullable=False, default="", server_default=""),
    Column("class", String(64), nullable=False, default="", server_default=""),
    Column("site", String(200), nullable=False, default="", server_default=""),
)
DEED = ("who", "origin", "what", "place", "about", "before", "after")
audit = Table(  # who did what, see audit.py; never forgotten
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", BigInteger, nullable=False),
    Column("who", String(80), nullable=False),
    Column("origin", String(80), nullable=False),
    Column("what", String(120), nullable=False),
    Column("place", PATH, nullable=False),
    Column("about", String(300), nullable=False),
    Column("before", String(64), nullable=False),
    Column("after", String(64), nullable=False),
    Column("result", String(200), nullable=False),
    Column("hash", String(64), nullable=False),
)
audit_note = Table(  # what was stored, and has no row there yet, see unended.py
    "audit_note",
    metadata,
    Column("key", String(32), primary_key=True),
    *(Column(name, audit.c[name].type, nullable=False) for name in ("ts", *DEED)),
)
applied = Table(
    "applied",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("watermark", BigInteger, nullable=False),
    Column("ranges", Text, nullable=False),
)
block = Table(
    "block",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("t0", BigInteger, nullable=False),
    Column("t1", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("last", BigInteger),  # the last number it holds, where it was made of several, see compact.py
    Index("block_time", "device", "stream", "t1"),
    Index("block_age", "t1"),
)
stale = Table(  # hours whose roll-up lacks samples that are here
    "stale",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Index("stale_hour", "hour"),
)
rollup = Table(
    "rollup",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("rollup_age", "hour"),
)
ledger = Table(  # what each block holds of each tag's time, see ledger.py
    "ledger",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("t0", BigInteger, nullable=False),
    Column("t1", BigInteger, nullable=False),
    Column("runs", LargeBinary, nullable=False),
    Column("parts", LargeBinary),  # what it is made of, where it was made of several
    Index("ledger_time", "device", "stream", "t1", "t0"),
    Index("ledger_age", "t1"),
)
tag = Table(
    "tag",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("type", String(20), nullable=False),
    Column("unit", String(40), nullable=False),
    Column("labels", Text, nullable=False),
    Column("source", String(200), nullable=False),
)
text = Table(  # the strings of text tags; `id` is the value of their samples
    "text",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("tag", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Index("text_tag", "device", "epoch", "tag", "id"),
)
event = Table(
    "event",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("ts", BigInteger, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("key", String(200), nullable=False),
    Column("state", String(40), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("refs", Text, nullable=False),
    Index("event_time", "ts", "seq"),
    Index("event_kind", "kind", "ts", "seq"),
    Index("event_device", "device", "ts", "seq"),
    Index("event_device_kind", "device", "kind", "ts", "seq"),
)
alarm = Table(
    "alarm",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("epoch", String(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("acked", Boolean, nullable=False),
    Column("shelved_until", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("severity", String(10), nullable=False),
    Column("text", Text, nullable=False),
    Column("by", String(80), nullable=False),
)
refused = Table(  # records that could not be read, see refused.py
    "refused",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("t0", BigInteger, nullable=False),
    Column("t1", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
    Column("arrived", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("refused_age", "device", "arrived"),
)
judged = Table(  # where the alarms of the plane's own rules stand, see judge.py
    "judged",
    metadata,
    Column("rule", String(64), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("blind", BigInteger, nullable=False),
    Column("said", String(16), nullable=False),
)
picture = Table(
    "picture",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("media", String(40), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("stored", Float, nullable=False, default=time.time),
    Column(
        "place", String(120), nullable=False, default="", server_default=""
    ),  # in the store of objects; body is empty then
    Index("picture_age", "stored"),
    Index("picture_place", "place"),
)
loose = Table(  # objects that no picture has yet, or no longer, see loose.py
    "loose",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("at", Float, nullable=False),
    Index("loose_age", "at"),
)
piece = Table(  # of what is too large for one message, see pieces.py
    "piece",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("arrived", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("piece_age", "arrived"),
)
command = Table(
    "command",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False),
    Column("verb", String(20), nullable=False),
    Column("data", Text, nullable=False),
    Column("created", Float, nullable=False),
    Index("command_device", "device", "number"),
    sqlite_autoincrement=True,
)
want = Table(  # what runs where, by the plane's will, see twin.py
    "want",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("since", Float, nullable=False),
    Column("by", String(80), nullable=False),
    Column("rollout", BigInteger, nullable=False),
    Index("want_generation", "generation"),
    Index("want_name", "kind", "name"),
)
told_twin = Table(  # and what came of it, as the device says
    "told_twin",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("state", String(40), nullable=False),
    Column("running", String(64), nullable=False),
    Column("tried", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("epoch", String(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Index("told_twin_name", "kind", "name"),
)
model_stage = Table(  # see model_stages.py: each move of a version
    "model_stage",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("by", String(80), nullable=False),
    Column("note", Text, nullable=False),
    Index("model_stage_name", "name", "version"),
)
shadowed = Table(  # what a device's stage says of a version in shadow there, newest
    "shadowed",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("stage", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("parts", BigInteger, nullable=False),
    Column("agreed", BigInteger, nullable=False),
    Column("faults", BigInteger, nullable=False),
    Column("p95_ms", Float, nullable=False),
    Column("epoch", String(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Index("shadowed_model", "model", "version"),
)
first_number = Table(  # none below it is given any more, see numbers.py
    "first_number",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
rollout = Table(  # see rollouts.py
    "rollout",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("plan", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("since", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String(80), nullable=False),
    Column("created", Float, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("sizes", Text, nullable=False),
    Column("forgiven", Float, nullable=False),  # what came of attempts before is not judged
    Column("kept", Text, nullable=False, default="", server_default=""),  # see rollout_past.py
)
rollout_device = Table(
    "rollout_device",
    metadata,
    Column("rollout", BigInteger, primary_key=True, autoincrement=False),
    Column("device", String(64), primary_key=True),
    Column("place", BigInteger, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("site", String(200), nullable=False),
    Column("state", String(12), nullable=False),
    Column("late", Boolean, nullable=False),
    Column("hit", String(12), nullable=False),
    Column("version", String(64), nullable=False),
    Column("before", String(64), nullable=False),
    Column("asked", Float, nullable=False),
    Column("began", Float, nullable=False),
    Column("ended", Float, nullable=False),
    Column("began_ts", BigInteger, nullable=False),  # by the device's own clock
    Column("generation", BigInteger, nullable=False),
    Column("told", String(40), nullable=False),
    Column("why", Text, nullable=False),
    # the first four are the order in which devices are asked; counting them takes the index alone
    Index("rollout_device_next", "rollout", "state", "wave", "place", "hit", "late", "began"),
    Index("rollout_device_device", "device", "rollout"),
)
config_layer = Table(  # what people say of the devices of a class, a site or one alone, all versions, see config.py
    "config_layer",
    metadata,
    Column("layer", String(210), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("by", String(80), nullable=False),
    Column("body", Text, nullable=False),
)
config_document = Table(  # what was made of them and sent
    "config_document",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("body", Text, nullable=False),
    Column("origins", Text, nullable=False),
)
config_draft = Table(  # what somebody wrote at the device itself
    "config_draft",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("body", Text, nullable=False),
)
ddi = Table(  # devices that ask for firmware as hawkBit's clients do, see ddi.py
    "ddi",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("since", Float, nullable=False),
    Column("attributes", Text, nullable=False),
    # which generation it is asked to stop, and since when it has said nothing of that
    Column("stops", BigInteger, nullable=False, default=0, server_default="0"),
    Column("stops_since", Float, nullable=False, default=0.0, server_default="0"),
)
fault_case = Table(  # what was seen before, why, and what helped, at a node of the tree; see cases.py
    "fault_case",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("place", PATH, nullable=False),
    Column("id", PATH, nullable=False),
    Column("asset", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("symptom", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("words", Text, nullable=False),  # as both databases index them, see words.py of edge
    Column("body", Text, nullable=False),  # all of it, as it goes to devices
    Column("size", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("by", String(80), nullable=False),
    Index("fault_case_id", "place", "id", unique=True),
)
