"""Indexes that serve the newest events first, whatever they are filtered by."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("event_kind", "event")
    op.drop_index("event_device", "event")
    op.create_index("event_time", "event", ["ts", "seq"])
    op.create_index("event_kind", "event", ["kind", "ts", "seq"])
    op.create_index("event_device", "event", ["device", "ts", "seq"])
    op.create_index("event_device_kind", "event", ["device", "kind", "ts", "seq"])
