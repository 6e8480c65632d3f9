"""The strings of text tags."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "text",
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("epoch", sa.String(16), primary_key=True, nullable=False),
        sa.Column("id", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("tag", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("text_tag", "text", ["device", "epoch", "tag", "id"])
