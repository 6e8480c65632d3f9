"""Since when a client of DDI is asked to stop."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.add_column("ddi", sa.Column("stops", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("ddi", sa.Column("stops_since", sa.Float, nullable=False, server_default="0"))
