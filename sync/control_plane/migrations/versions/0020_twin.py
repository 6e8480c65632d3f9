"""What runs where by the plane's will, and what devices say came of it."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

KEY = (("device", 64), ("kind", 16), ("name", 64))


def upgrade() -> None:
    op.create_table(
        "want",
        *(sa.Column(name, sa.String(most), primary_key=True, nullable=False) for name, most in KEY),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("rollout", sa.BigInteger, nullable=False),
    )
    op.create_index("want_generation", "want", ["generation"])
    op.create_index("want_name", "want", ["kind", "name"])
    op.create_table(
        "told_twin",
        *(sa.Column(name, sa.String(most), primary_key=True, nullable=False) for name, most in KEY),
        *(
            sa.Column(name, sa.String(most), nullable=False)
            for name, most in (("state", 40), ("running", 64), ("tried", 64))
        ),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.String(16), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
    )
    op.create_index("told_twin_name", "told_twin", ["kind", "name"])
