"""Blocks that are made of several."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("block", sa.Column("last", sa.BigInteger))
    op.add_column("ledger", sa.Column("parts", sa.LargeBinary))
