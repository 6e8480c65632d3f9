"""The tables of what leaves the plane by itself: events for other systems, alerts for people, hours as files."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, String, Table, Text

from .tables import metadata

target = Table(  # where events are forwarded to, see forward_state.py
    "target",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    Column("trouble", Text, nullable=False),
    Column("since", Float, nullable=False),
)
forwarded = Table(
    "forwarded",
    metadata,
    Column("target", String(80), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("watermark", BigInteger, nullable=False),
)
undelivered = Table(
    "undelivered",
    metadata,
    Column("target", String(80), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("why", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Index("undelivered_age", "at"),
)
alert = Table(  # how far an alarm has come on a route, see alert_state.py
    "alert",
    metadata,
    Column("route", String(64), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("kind", String(40), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("epoch", String(16), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("step", Integer, nullable=False),
    Column("told", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Index("alert_due", "due"),
)
alert_note = Table(  # what waits to be part of a message
    "alert_note",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("channel", String(64), nullable=False),
    Column("route", String(64), nullable=False),
    Column("device", String(64), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("key", String(200), nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("alert_note_due", "channel", "due"),
)
unfiled = Table(  # hours that wait to be written as files, see unfiled.py
    "unfiled",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("target", String(80), primary_key=True),
    Column("marked", BigInteger, nullable=False),
    Index("unfiled_marked", "target", "marked"),
)
filed = Table(  # which blocks the files of an hour hold
    "filed",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("target", String(80), primary_key=True),
    Column("parts", Text, nullable=False),
)
