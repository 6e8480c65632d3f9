"""The root's own word that an issuer is distrusted."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.add_column("issuer", sa.Column("word", sa.Text, nullable=False, server_default=""))
