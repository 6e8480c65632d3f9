"""The key of each device: what its certificate is for."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("device", sa.Column("key", sa.String(64), nullable=False, server_default=""))
