"""Where the alarms of the plane's own rules stand."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "judged",
        sa.Column("rule", sa.String(64), primary_key=True, nullable=False),
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("blind", sa.BigInteger, nullable=False),
        sa.Column("said", sa.String(16), nullable=False),
    )
