"""How far alarms have come on their way to people, and what waits to be sent."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

ALARM = (("route", 64), ("device", 64), ("kind", 40), ("key", 200))


def upgrade() -> None:
    op.create_table(
        "alert",
        *(sa.Column(name, sa.String(most), primary_key=True, nullable=False) for name, most in ALARM),
        sa.Column("epoch", sa.String(16), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("told", sa.BigInteger, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("alert_due", "alert", ["due"])
    op.create_table(
        "alert_note",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        *(sa.Column(name, sa.String(most), nullable=False) for name, most in ALARM),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("alert_note_due", "alert_note", ["channel", "due"])
