"""Where events are forwarded to, and how far."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

JOURNAL = (("target", sa.String(80)), ("device", sa.String(64)), ("epoch", sa.String(16)))


def upgrade() -> None:
    op.create_table(
        "target",
        sa.Column("name", sa.String(80), primary_key=True, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("trouble", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )
    op.create_table(
        "forwarded",
        *(sa.Column(name, kind, primary_key=True, nullable=False) for name, kind in JOURNAL),
        sa.Column("watermark", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "undelivered",
        *(sa.Column(name, kind, primary_key=True, nullable=False) for name, kind in JOURNAL),
        sa.Column("seq", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
