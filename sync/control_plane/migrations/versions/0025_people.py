"""People with accounts, what they are where, their sessions, keys of programs, and who did what."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    path = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")

    def text(name: str, size: int, key: bool = False) -> sa.Column:
        return sa.Column(name, sa.String(size), primary_key=key, nullable=False)

    def place(key: bool = False) -> sa.Column:
        return sa.Column("place", path, primary_key=key, nullable=False)

    def time(name: str) -> sa.Column:
        return sa.Column(name, sa.Float, nullable=False)

    op.create_table("person", text("name", 64, True), text("password", 200), text("outside", 300), time("created"))
    op.create_index("person_outside", "person", ["outside"])
    op.create_table("bound", text("person", 64, True), text("role", 40, True), place(True), text("by", 20))
    op.create_table("session", text("hash", 64, True), text("person", 64), time("created"), time("expires"))
    op.create_index("session_person", "session", ["person"])
    op.create_index("session_expires", "session", ["expires"])
    times = (time("created"), time("expires"))
    op.create_table("apikey", text("name", 64, True), text("hash", 64), text("role", 40), place(), *times)
    op.create_index("apikey_hash", "apikey", ["hash"])
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        *(text(name, size) for name, size in (("who", 80), ("origin", 80), ("what", 120))),
        place(),
        *(
            text(name, size)
            for name, size in (("about", 300), ("before", 64), ("after", 64), ("result", 200), ("hash", 64))
        ),
    )
