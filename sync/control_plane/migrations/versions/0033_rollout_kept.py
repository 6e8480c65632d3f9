"""What is kept of a rollout whose devices are forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.add_column("rollout", sa.Column("kept", sa.Text, nullable=False, server_default=""))
    op.create_index("undelivered_age", "undelivered", ["at"])
