"""Roll-ups; every hour that has blocks already waits for its own."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

HOUR = 3600 * 10**9


def upgrade() -> None:
    key = (("device", sa.String(64)), ("epoch", sa.String(16)), ("stream", sa.String(220)), ("hour", sa.BigInteger))
    for name, more in (("stale", ()), ("rollup", (("n", sa.BigInteger), ("body", sa.LargeBinary)))):
        op.create_table(
            name,
            *(sa.Column(*part, primary_key=True, nullable=False, autoincrement=False) for part in key),
            *(sa.Column(*part, nullable=False) for part in more),
        )
    op.create_index("stale_hour", "stale", ["hour"])
    op.create_index("rollup_age", "rollup", ["hour"])
    ends = (f"SELECT device, epoch, stream, {end} / {HOUR} FROM block WHERE t0 >= 0" for end in ("t0", "t1"))
    op.execute(f"INSERT INTO stale (device, epoch, stream, hour) {' UNION '.join(ends)}")
