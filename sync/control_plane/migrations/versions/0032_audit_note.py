"""What was stored, and has no row in the audit yet."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
SIZES = {"who": 80, "origin": 80, "what": 120, "place": 200, "about": 300, "before": 64, "after": 64}


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    path = sa.String(200, collation="C" if on_postgresql else None)
    op.create_table(
        "audit_note",
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("ts", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, path if name == "place" else sa.String(size), nullable=False)
            for name, size in SIZES.items()
        ),
    )
