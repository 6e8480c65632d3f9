"""The tables of what devices signed: the bytes of records that the plane otherwise keeps taken apart, checkpoints, and which keys a
device had."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, String, Table, Text

from .tables import metadata

original = Table(  # events, tags and texts, as they came; samples are in `block`
    "original",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("stream", String(220), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("t1", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("original_age", "stream", "t1"),
)
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("epoch", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),  # of its event
    Column("number", BigInteger, nullable=False),
    Column("ts", BigInteger, nullable=False),  # by the device's clock, ns UTC
    Column("statement", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("arrived", BigInteger, nullable=False),  # by ours
    Column("countersigned", Text, nullable=False),  # our statement; or why there is none
    Column("witness", Integer, nullable=False),  # 0: not looked at yet, 1: countersigned, 2: refused
    Column("proof", LargeBinary, nullable=False),  # our signature
    Column("certificates", Text, nullable=False),  # of our key, PEM, up to the authority
    Index("checkpoint_new", "witness", "arrived"),
    Index("checkpoint_time", "device", "epoch", "ts"),
)
keyed = Table(  # every key that a device was enrolled with
    "keyed",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("since", Float, nullable=False),
)
