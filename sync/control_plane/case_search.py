"""Fault cases by their words and by their signature, and what hangs together in them.

Both databases hold the words of edge's own parting, and are asked for one word at a time: how near a case is, is which share of the
words it holds, as on a device. So both answer the same.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, column, desc, func, select, table, text, union_all

from edge import asked_words

from .cases import NODES, Kept, T, listed
from .database import on_postgresql

MOST_FOUND, MOST_NEIGHBOURS = 50, 100
ON_SQLITE = "case_word MATCH :{0}"
ON_POSTGRESQL = "array_to_tsvector(string_to_array(words, ' ')) @@ CAST(:{0} AS tsquery)"


def found(connection: Connection, words: str, *where: ColumnElement[bool]) -> list[tuple[Kept, float]]:
    """Those that hold any of the words, or words that begin so, and which share of them; the best first."""
    terms = asked_words(words)
    if not terms:
        return []
    hits = union_all(*(_hits(connection, n, term) for n, term in enumerate(terms))).subquery()
    share = func.count().label("share")
    wanted = select(T.c.number, share).join(hits, hits.c.number == T.c.number).where(*where).group_by(T.c.number)
    best = connection.execute(wanted.order_by(desc(share), T.c.number).limit(MOST_FOUND)).tuples().all()
    rows = {row.number: row for row in listed(connection, T.c.number.in_([number for number, _ in best]))}
    return [(rows[number], many / len(terms)) for number, many in best]


def _hits(connection: Connection, n: int, term: str) -> Any:
    name = f"word{n}"
    if on_postgresql(connection):
        asked = text(ON_POSTGRESQL.format(name)).bindparams(bindparam(name, f"'{term}':*"))
        return select(T.c.number).where(asked)
    asked = text(ON_SQLITE.format(name)).bindparams(bindparam(name, f'"{term}"*'))
    return select(column("rowid").label("number")).select_from(table("case_word")).where(asked)


def graph(connection: Connection, kind: str, said: str, *where: ColumnElement[bool]) -> dict[str, Any]:
    """What stands together with a node in cases: (how many) of each other kind, the most frequent first, and the cases behind.
    Equal texts are one node. Without a kind: what there is of each."""
    here = [*where, *([T.c[kind] == said.strip()] if kind else [])]
    out: dict[str, Any] = {"kind": kind, "text": said.strip(), "neighbours": {}}
    many = func.count().label("many")
    for other in NODES:
        if other == kind:
            continue
        node = T.c[other]
        asked = select(node, many).where(*here, node != "").group_by(node).order_by(desc(many), func.min(T.c.number))
        rows = connection.execute(asked.limit(MOST_NEIGHBOURS)).tuples()
        out["neighbours"][other] = [{"text": words, "cases": n} for words, n in rows]
    behind = select(T.c.number, T.c.id, T.c.place, T.c.symptom).where(*here).order_by(T.c.id, T.c.place)
    out["cases"] = connection.scalar(select(func.count()).select_from(T).where(*here))
    out["behind"] = [dict(row) for row in connection.execute(behind.limit(MOST_NEIGHBOURS)).mappings()]
    return out
