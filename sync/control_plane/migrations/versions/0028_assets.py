"""Assets: parts, maintenance, work orders and running hours."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    path = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")

    def number(name: str, key: bool = False) -> sa.Column:
        return sa.Column(name, sa.BigInteger, primary_key=key, autoincrement=False, nullable=False)

    def text(name: str, size: int = 0) -> sa.Column:
        return sa.Column(name, sa.String(size) if size else sa.Text, nullable=False)

    def real(name: str) -> sa.Column:
        return sa.Column(name, sa.Float, nullable=False)

    op.create_table(
        "asset",
        number("number", True),
        text("enterprise", 200),
        text("id", 64),
        sa.Column("place", path, nullable=False),
        *(text(*column) for column in (("name", 200), ("class", 200), ("device", 64), ("tags", 200), ("running", 200))),
        real("above"),
        text("counter", 200),
        *(real(name) for name in ("before", "begun", "retired")),
        text("rules"),
    )
    op.create_index("asset_id", "asset", ["enterprise", "id"], unique=True)
    op.create_index("asset_place", "asset", ["place"])
    op.create_index("asset_device", "asset", ["device"])
    op.create_table(
        "asset_part",
        *(number("number", True), number("asset")),
        *(text(name, 200) for name in ("position", "part", "serial")),
        *(real("installed"), text("installed_by", 80), real("removed"), text("removed_by", 80)),
        *(text("note"), number("installed_order"), number("removed_order")),
    )
    op.create_index("asset_part_asset", "asset_part", ["asset", "removed"])
    op.create_index("asset_part_installed", "asset_part", ["installed_order"])
    op.create_index("asset_part_removed", "asset_part", ["removed_order"])
    op.create_table(
        "maintenance",
        *(number("number", True), number("asset"), text("rule", 200), text("did")),
        *(real("at"), text("by", 80), number("work_order")),
    )
    op.create_index("maintenance_asset", "maintenance", ["asset", "at"])
    op.create_table(
        "work_order",
        *(number("number", True), number("asset"), text("state", 12), text("origin", 12)),
        *(text("about", 200), text("title", 200), text("note"), real("opened"), text("opened_by", 80)),
        *(real("ended"), text("ended_by", 80), text("did")),
    )
    op.create_index("work_order_asset", "work_order", ["asset", "state"])
    op.create_index("work_order_state", "work_order", ["state", "number"])
    hours = (number("asset", True), number("hour", True))
    op.create_table("asset_hour", *hours, real("ran"), real("known"), sa.Column("reading", sa.Float), real("total"))
    op.create_table("asset_mark", number("asset", True), number("hour", True), number("marked"))
