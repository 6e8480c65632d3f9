"""What the plane forgets by age: an index on it, and for pictures the age itself."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("block_age", "block", ["t1"])
    op.add_column("picture", sa.Column("stored", sa.Float, nullable=False, server_default=str(time.time())))
    op.create_index("picture_age", "picture", ["stored"])
