"""Since when a device is not let in any more; 0: it is."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("device", sa.Column("revoked", sa.Float, nullable=False, server_default="0"))
