"""Layers of configurations, what was made of them, and drafts of devices."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "config_layer",
        sa.Column("layer", sa.String(210), primary_key=True, nullable=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "config_document",
        sa.Column("version", sa.String(64), primary_key=True, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("origins", sa.Text, nullable=False),
    )
    op.create_table(
        "config_draft",
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
