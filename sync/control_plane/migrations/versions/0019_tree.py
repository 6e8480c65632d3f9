"""Where a device stands is a path of the tree of tenants, compared letter by letter."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    connection = op.get_bind()
    t = sa.table("device", sa.column("id"), sa.column("site"))
    for name, site in connection.execute(sa.select(t.c.id, t.c.site).where(t.c.site != "")).all():
        path = "/".join(word.strip() for word in site.split("/") if word.strip() not in ("", ".", ".."))
        connection.execute(sa.update(t).where(t.c.id == name).values(site=path))
    if connection.dialect.name == "postgresql":
        op.alter_column("device", "site", type_=sa.String(200, collation="C"))
    op.create_index("device_site", "device", ["site"])
