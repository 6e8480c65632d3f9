"""Which alarm of the plane's own says that which rule of which asset is due."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_table(
        "asset_due",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("asset", sa.BigInteger, nullable=False),
        sa.Column("rule", sa.String(200), nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )
    op.create_index("asset_due_asset", "asset_due", ["asset"])
