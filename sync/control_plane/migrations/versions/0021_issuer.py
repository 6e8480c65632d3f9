"""Who signs for this plane."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "issuer",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("pem", sa.Text, nullable=False),
        sa.Column("distrusted", sa.Integer, nullable=False, server_default="0"),
    )
