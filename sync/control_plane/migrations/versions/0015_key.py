"""The key of each device: what its certificate is for."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("device", sa.Column("key", sa.String(64), nullable=False, server_default=""))
