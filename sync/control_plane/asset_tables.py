"""The tables of assets: what they are, what was built in and done, work orders, and how long each ran in which hour."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, String, Table, Text

from .tables import PATH, metadata

asset = Table(
    "asset",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("enterprise", String(200), nullable=False),  # the first name of its place: an id is its own there
    Column("id", String(64), nullable=False),
    Column("place", PATH, nullable=False),
    Column("name", String(200), nullable=False),
    Column("class", String(200), nullable=False),
    Column("device", String(64), nullable=False),
    Column("tags", String(200), nullable=False),  # how the names of its tags begin
    Column("running", String(200), nullable=False),
    Column("above", Float, nullable=False),
    Column("counter", String(200), nullable=False),
    Column("before", Float, nullable=False),  # hours that it had run when it began
    Column("begun", Float, nullable=False),
    # from which hour on its history is still to be counted; 0: from none
    Column("behind", BigInteger, nullable=False, default=0, server_default="0"),
    Column("retired", Float, nullable=False),
    Column("rules", Text, nullable=False),
    Index("asset_id", "enterprise", "id", unique=True),
    Index("asset_place", "place"),
    Index("asset_device", "device"),
    Index("asset_behind", "behind"),
)
asset_part = Table(  # what is built in at a position, or was until it was removed
    "asset_part",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("asset", BigInteger, nullable=False),
    Column("position", String(200), nullable=False),
    Column("part", String(200), nullable=False),
    Column("serial", String(200), nullable=False),
    Column("installed", Float, nullable=False),
    Column("installed_by", String(80), nullable=False),
    Column("removed", Float, nullable=False),  # 0: it is still there
    Column("removed_by", String(80), nullable=False),
    Column("note", Text, nullable=False),
    Column("installed_order", BigInteger, nullable=False),  # by which work order it came; 0: by none
    Column("removed_order", BigInteger, nullable=False),
    Index("asset_part_asset", "asset", "removed"),
    Index("asset_part_installed", "installed_order"),
    Index("asset_part_removed", "removed_order"),
)
maintenance = Table(  # what was done
    "maintenance",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("asset", BigInteger, nullable=False),
    Column("rule", String(200), nullable=False),  # the due one that it was; "": none
    Column("did", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("by", String(80), nullable=False),
    Column("work_order", BigInteger, nullable=False),
    Index("maintenance_asset", "asset", "at"),
)
work_order = Table(
    "work_order",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("asset", BigInteger, nullable=False),
    Column("state", String(12), nullable=False),  # open, done, dropped
    Column("origin", String(12), nullable=False),  # hand, alarm, due
    Column("about", String(200), nullable=False),  # the alarm's key, or the rule
    Column("title", String(200), nullable=False),
    Column("note", Text, nullable=False),
    Column("opened", Float, nullable=False),
    Column("opened_by", String(80), nullable=False),
    Column("ended", Float, nullable=False),
    Column("ended_by", String(80), nullable=False),
    Column("did", Text, nullable=False),
    Index("work_order_asset", "asset", "state"),
    Index("work_order_state", "state", "number"),
)
asset_hour = Table(  # see running.py; seconds
    "asset_hour",
    metadata,
    Column("asset", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("ran", Float, nullable=False),
    Column("known", Float, nullable=False),
    Column("reading", Float),  # of a counter, its last in this hour
    Column("total", Float, nullable=False),  # of this hour and all before it
)
asset_mark = Table(  # hours that are to be counted (anew)
    "asset_mark",
    metadata,
    Column("asset", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("marked", BigInteger, nullable=False),
)
asset_due = Table(  # the plane's own alarms that something is due, see asset_due.py; a key is never another asset's
    "asset_due",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("asset", BigInteger, nullable=False),  # 0: it was removed
    Column("rule", String(200), nullable=False),
    Column("since", Float, nullable=False),  # from when on the rule counted when it was raised last
    Index("asset_due_asset", "asset"),
)
