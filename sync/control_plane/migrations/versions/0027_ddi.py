"""Devices that ask for firmware as hawkBit's clients do."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "ddi",
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
    )
