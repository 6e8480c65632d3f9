"""Rollouts, and where each of their devices stands."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def _column(name: str, kind: sa.types.TypeEngine, key: bool = False) -> sa.Column:
    return sa.Column(name, kind, nullable=False, primary_key=key, autoincrement=False)


def upgrade() -> None:
    op.create_table(
        "rollout",
        _column("number", sa.BigInteger(), key=True),
        _column("kind", sa.String(16)),
        _column("name", sa.String(64)),
        _column("version", sa.String(64)),
        _column("plan", sa.Text()),
        _column("state", sa.String(16)),
        _column("since", sa.Float()),
        _column("reason", sa.Text()),
        _column("by", sa.String(80)),
        _column("created", sa.Float()),
        _column("wave", sa.Integer()),
        _column("sizes", sa.Text()),
        _column("forgiven", sa.Float()),
    )
    op.create_table(
        "rollout_device",
        _column("rollout", sa.BigInteger(), key=True),
        _column("device", sa.String(64), key=True),
        _column("place", sa.BigInteger()),
        _column("wave", sa.Integer()),
        _column("site", sa.String(200)),
        _column("state", sa.String(12)),
        _column("late", sa.Boolean()),
        _column("hit", sa.String(12)),
        _column("version", sa.String(64)),
        _column("before", sa.String(64)),
        _column("asked", sa.Float()),
        _column("began", sa.Float()),
        _column("ended", sa.Float()),
        _column("began_ts", sa.BigInteger()),
        _column("generation", sa.BigInteger()),
        _column("told", sa.String(40)),
        _column("why", sa.Text()),
    )
    order = ["rollout", "state", "wave", "place", "hit", "late", "began"]
    op.create_index("rollout_device_next", "rollout_device", order)
    op.create_index("rollout_device_device", "rollout_device", ["device", "rollout"])
