"""What devices signed: records as they came, checkpoints, and the keys of each device."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

PLACE = (("device", 64), ("epoch", 16))


def upgrade() -> None:
    op.create_table(
        "original",
        *(sa.Column(name, sa.String(most), primary_key=True, nullable=False) for name, most in PLACE),
        sa.Column("stream", sa.String(220), primary_key=True, nullable=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("t1", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("original_age", "original", ["stream", "t1"])
    op.create_table(
        "checkpoint",
        *(sa.Column(name, sa.String(most), primary_key=True, nullable=False) for name, most in PLACE),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("arrived", sa.BigInteger, nullable=False),
        sa.Column("countersigned", sa.Text, nullable=False),
        sa.Column("witness", sa.Integer, nullable=False),
        sa.Column("proof", sa.LargeBinary, nullable=False),
        sa.Column("certificates", sa.Text, nullable=False),
    )
    op.create_index("checkpoint_new", "checkpoint", ["witness", "arrived"])
    op.create_index("checkpoint_time", "checkpoint", ["device", "epoch", "ts"])
    op.create_table(
        "keyed",
        sa.Column("device", sa.String(64), primary_key=True, nullable=False),
        sa.Column("key", sa.String(64), primary_key=True, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )
    op.execute("INSERT INTO keyed (device, key, since) SELECT id, key, enrolled FROM device WHERE key <> ''")
