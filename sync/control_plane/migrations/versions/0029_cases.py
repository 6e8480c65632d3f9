"""Fault cases, and the index of their words."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

# the index of SQLite holds no copy of the words, and follows the table by itself
SQLITE = (
    """CREATE VIRTUAL TABLE case_word USING fts5(
        words, content='fault_case', content_rowid='number', tokenize='unicode61 remove_diacritics 0')""",
    """CREATE TRIGGER case_word_new AFTER INSERT ON fault_case BEGIN
        INSERT INTO case_word(rowid, words) VALUES (new.number, new.words); END""",
    """CREATE TRIGGER case_word_gone AFTER DELETE ON fault_case BEGIN
        INSERT INTO case_word(case_word, rowid, words) VALUES ('delete', old.number, old.words); END""",
    """CREATE TRIGGER case_word_other AFTER UPDATE ON fault_case BEGIN
        INSERT INTO case_word(case_word, rowid, words) VALUES ('delete', old.number, old.words);
        INSERT INTO case_word(rowid, words) VALUES (new.number, new.words); END""",
)
# the words are parted already: PostgreSQL's own parser would part some of them otherwise
POSTGRESQL = "CREATE INDEX case_word ON fault_case USING gin (array_to_tsvector(string_to_array(words, ' ')))"


def upgrade() -> None:
    path = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
    texts = ("asset", "component", "symptom", "cause", "remedy", "words", "body")
    op.create_table(
        "fault_case",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("place", path, nullable=False),
        sa.Column("id", path, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
    )
    op.create_index("fault_case_id", "fault_case", ["place", "id"], unique=True)
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else (POSTGRESQL,):
        op.execute(statement)
