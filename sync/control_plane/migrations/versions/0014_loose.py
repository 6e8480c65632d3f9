"""Objects in the store that no picture has yet, or no longer."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "loose",
        sa.Column("name", sa.String(120), primary_key=True, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("loose_age", "loose", ["at"])
