"""From which hour on the history of an asset is still to be counted."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("asset", sa.Column("behind", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("asset_behind", "asset", ["behind"])
