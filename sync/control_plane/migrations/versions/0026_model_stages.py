"""How far each version of a model has come, and what devices say of those in shadow."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def _column(name: str, kind: sa.types.TypeEngine, key: bool = False) -> sa.Column:
    return sa.Column(name, kind, nullable=False, primary_key=key, autoincrement=False)


def upgrade() -> None:
    op.create_table(
        "model_stage",
        _column("number", sa.BigInteger(), key=True),
        _column("name", sa.String(64)),
        _column("version", sa.String(64)),
        _column("stage", sa.String(16)),
        _column("at", sa.Float()),
        _column("by", sa.String(80)),
        _column("note", sa.Text()),
    )
    op.create_index("model_stage_name", "model_stage", ["name", "version"])
    op.create_table(
        "shadowed",
        _column("device", sa.String(64), key=True),
        _column("stage", sa.String(64), key=True),
        _column("model", sa.String(64), key=True),
        _column("version", sa.String(64), key=True),
        _column("parts", sa.BigInteger()),
        _column("agreed", sa.BigInteger()),
        _column("faults", sa.BigInteger()),
        _column("p95_ms", sa.Float()),
        _column("epoch", sa.String(16)),
        _column("seq", sa.BigInteger()),
    )
    op.create_index("shadowed_model", "shadowed", ["model", "version"])
