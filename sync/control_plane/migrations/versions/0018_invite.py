"""What an invitation is good for, and what is noted of a device that came with it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    for name, size in (("device", 64), ("class", 64), ("site", 200)):
        op.add_column("invite", sa.Column(name, sa.String(size), nullable=False, server_default=""))
    for name in ("left", "several"):
        op.add_column(
            "invite", sa.Column(name, sa.Integer, nullable=False, server_default="1" if name == "left" else "0")
        )
    for name, size in (("class", 64), ("site", 200)):
        op.add_column("device", sa.Column(name, sa.String(size), nullable=False, server_default=""))
