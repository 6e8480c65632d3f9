"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID, EPOCH, NAME = sa.String(64), sa.String(16), sa.String(200)
BIG = sa.BigInteger


def _column(name: str, kind: Any, key: bool = False) -> sa.Column:
    return sa.Column(name, kind, primary_key=key, nullable=False)


def upgrade() -> None:
    op.create_table(
        "device",
        _column("id", ID, True),
        _column("secret", ID),
        _column("enrolled", sa.Float),
        _column("seen", sa.Float),
    )
    op.create_table("invite", _column("hash", ID, True), _column("expires", sa.Float))
    key = [("device", ID), ("epoch", EPOCH)]
    op.create_table(
        "applied",
        *(_column(*part, True) for part in [*key, ("stream", sa.String(220))]),
        _column("watermark", BIG),
        _column("ranges", sa.Text),
    )
    by_day = op.get_bind().dialect.name == "postgresql"  # there the key holds what the partitions are made by
    op.create_table(
        "block",
        *(_column(*part, True) for part in [*key, ("stream", sa.String(220)), ("seq", BIG)]),
        _column("t0", BIG),
        _column("t1", BIG, by_day),
        *(_column(*part) for part in (("n", sa.Integer), ("body", sa.LargeBinary))),
        postgresql_partition_by="RANGE (t1)",
    )
    if by_day:
        op.execute("ALTER TABLE block ALTER body SET STORAGE EXTERNAL")  # it is compressed already
        op.execute("CREATE TABLE block_other PARTITION OF block DEFAULT")
    op.create_index("block_time", "block", ["device", "stream", "t1"])
    op.create_table(
        "tag",
        *(_column(*part, True) for part in [*key, ("id", BIG)]),
        _column("name", NAME),
        _column("type", sa.String(20)),
        _column("unit", sa.String(40)),
        _column("labels", sa.Text),
        _column("source", NAME),
    )
    texts = [("text", sa.Text), ("data", sa.Text), ("refs", sa.Text)]
    op.create_table(
        "event",
        *(_column(*part, True) for part in [*key, ("seq", BIG)]),
        *(_column(*part) for part in (("ts", BIG), ("kind", sa.String(40)), ("key", NAME), ("state", sa.String(40)))),
        _column("severity", sa.String(10)),
        *(_column(*part) for part in texts),
    )
    op.create_index("event_kind", "event", ["kind", "ts"])
    op.create_index("event_device", "event", ["device", "ts"])
    op.create_table(
        "alarm",
        _column("device", ID, True),
        _column("key", NAME, True),
        *(_column(*part) for part in (("epoch", EPOCH), ("seq", BIG), ("active", sa.Boolean), ("acked", sa.Boolean))),
        *(_column(*part) for part in (("shelved_until", BIG), ("since", BIG), ("severity", sa.String(10)))),
        *(_column(*part) for part in (("text", sa.Text), ("by", sa.String(80)))),
    )
    op.create_table(
        "picture",
        _column("digest", ID, True),
        _column("media", sa.String(40)),
        _column("body", sa.LargeBinary),
    )
    op.create_table(
        "command",
        sa.Column("number", BIG().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        *(_column(*part) for part in (("device", ID), ("verb", sa.String(20)), ("data", sa.Text))),
        _column("created", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_index("command_device", "command", ["device", "number"])
