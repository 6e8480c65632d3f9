"""Where a picture lies that is no longer in the database."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("picture", sa.Column("place", sa.String(120), nullable=False, server_default=""))
    op.create_index("picture_place", "picture", ["place"])
