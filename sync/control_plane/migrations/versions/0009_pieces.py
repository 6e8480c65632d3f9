"""Pieces of what is too large for one message."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "piece",
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("digest", sa.String(64), primary_key=True, nullable=False),
        sa.Column("at", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("arrived", sa.Float, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("piece_age", "piece", ["arrived"])
