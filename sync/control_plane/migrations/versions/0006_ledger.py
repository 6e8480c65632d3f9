"""What each block holds of each tag's time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("epoch", sa.String(16), primary_key=True, nullable=False),
        sa.Column("stream", sa.String(220), primary_key=True, nullable=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("t0", sa.BigInteger, nullable=False),
        sa.Column("t1", sa.BigInteger, nullable=False),
        sa.Column("runs", sa.LargeBinary, nullable=False),
    )
    op.create_index("ledger_time", "ledger", ["device", "stream", "t1", "t0"])
    op.create_index("ledger_age", "ledger", ["t1"])
