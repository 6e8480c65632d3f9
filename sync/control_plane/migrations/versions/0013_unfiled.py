"""Which hours wait to be written as files for which target, and what the files there hold."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

HOUR = (("device", sa.String(64)), ("hour", sa.BigInteger), ("target", sa.String(80)))


def upgrade() -> None:
    own = [[sa.Column(name, kind, primary_key=True, nullable=False) for name, kind in HOUR] for _ in range(2)]
    op.create_table("unfiled", *own[0], sa.Column("marked", sa.BigInteger, nullable=False))
    op.create_index("unfiled_marked", "unfiled", ["target", "marked"])
    op.create_table("filed", *own[1], sa.Column("parts", sa.Text, nullable=False))
