"""People who have an account here, what they are at which node of the tree, and keys of programs: rows in the writer's transaction.

A password is kept as Argon2id says. A session and a key are 256 random bits, so a plain SHA-256 of them keeps them.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import argon2
from sqlalchemy import Connection, delete, func, select, update

from edge import LinesideError

from ..wire import key_of as hashed
from . import people_tables
from .access import PROGRAM, Asker
from .database import insert_new
from .permissions import ROLES
from .tree import node

NAME = re.compile(r"[\w.@+-]{1,64}")
TAKEN = (
    "console",
    "local",
    "plane",
)  # what the audit and orders call who came by the link, works at the machine, or is no person
SHORTEST, LONGEST = 12, 200  # characters of a password
SESSION_SECONDS = 12 * 3600.0
KEY = "lsk_"  # how keys of programs begin, so that who finds one knows what it is
OUTSIDE = "groups"  # what `by` says of roles that the groups of an OpenID provider gave
ROOT_ONLY = frozenset({"platform_admin"})
hasher = argon2.PasswordHasher()  # 64 MiB and three passes, as RFC 9106 wishes where memory is scarce
NOBODY = hasher.hash(secrets.token_urlsafe(16))  # what the password of a name is compared with that nobody has


def named(name: str) -> str:
    """Raises LinesideError for what can be no name of a person or key."""
    if not NAME.fullmatch(name) or name in TAKEN:
        raise LinesideError(
            f"{name!r} is no name", hint="1 to 64 letters, digits and _.@+-; nor what the audit calls others"
        )
    return name


def bound(role: str, place: str) -> tuple[str, str]:
    """A role and a node as they are kept. Raises LinesideError."""
    if role not in ROLES:
        raise LinesideError(f"there is no role {role!r}", hint=f"there are {', '.join(ROLES)}")
    place = node(place)
    if place and role in ROOT_ONLY:
        raise LinesideError(f"a {role} is one of the whole plane", hint="leave out --at; below the root: tenant_admin")
    return role, place


def password(words: str) -> str:
    """How it is kept. Blocks for a tenth of a second or two. Raises LinesideError for one that anybody may guess."""
    if not SHORTEST <= len(words) <= LONGEST or len(set(words)) < 5:
        raise LinesideError(f"a password has {SHORTEST} to {LONGEST} characters, and five different ones at least")
    return hasher.hash(words)


def right(kept: str | None, words: str) -> bool:
    """Whether it is the password that is kept so. It takes as long where there is none. Blocks."""
    try:
        return hasher.verify(kept or NOBODY, words[: LONGEST + 1]) and bool(kept)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def add(connection: Connection, name: str, kept: str, outside: str = "") -> None:
    """A new person; `outside` is who they are at an OpenID provider. Raises LinesideError."""
    row = {"name": named(name), "password": kept, "outside": outside, "created": time.time()}
    if known(connection, name):
        raise LinesideError(
            f"{name} has an account already", hint="`person bind` gives a role, `person password` another password"
        )
    insert_new(connection, people_tables.person, [row])


def known(connection: Connection, name: str) -> bool:
    t = people_tables.person
    return connection.scalar(select(t.c.name).where(t.c.name == name)) is not None


def _must_be_known(connection: Connection, name: str) -> None:
    if not known(connection, name):
        raise LinesideError(f"nobody has an account called {name!r}", hint="`lineside plane person list` tells who has")


def another_password(connection: Connection, name: str, kept: str) -> None:
    """And nobody is signed in with the old one any more. Raises LinesideError."""
    _must_be_known(connection, name)
    t = people_tables.person
    connection.execute(update(t).where(t.c.name == name).values(password=kept))
    end(connection, name)


def remove(connection: Connection, name: str) -> None:
    """With all roles, and signed out. Raises LinesideError."""
    _must_be_known(connection, name)
    for t, column in (
        (people_tables.bound, "person"),
        (people_tables.session, "person"),
        (people_tables.person, "name"),
    ):
        connection.execute(delete(t).where(t.c[column] == name))


def bind(connection: Connection, name: str, role: str, place: str, by: str = "") -> None:
    """Raises LinesideError."""
    role, place = bound(role, place)
    _must_be_known(connection, name)
    insert_new(connection, people_tables.bound, [{"person": name, "role": role, "place": place, "by": by}])


def unbind(connection: Connection, name: str, role: str, place: str) -> None:
    """Raises LinesideError."""
    role, place = bound(role, place)
    t = people_tables.bound
    if not connection.execute(delete(t).where(t.c.person == name, t.c.role == role, t.c.place == place)).rowcount:
        raise LinesideError(f"{name} is no {role} at {place or 'the root'}", hint="`lineside plane person list`")


def end(connection: Connection, name: str) -> int:
    """Sign somebody out everywhere; how many sessions there were."""
    t = people_tables.session
    return connection.execute(delete(t).where(t.c.person == name)).rowcount


def kept(connection: Connection, name: str) -> str | None:
    """How somebody's password is kept; None where there is none."""
    t = people_tables.person
    return connection.scalar(select(t.c.password).where(t.c.name == name)) or None


def begin(connection: Connection, name: str, password: str | None) -> str:
    """A new session of somebody whose password is kept so; sessions that are over go. Raises LinesideError where that is not so any
    more."""
    token, now, t = secrets.token_urlsafe(32), time.time(), people_tables.session
    if not known(connection, name) or kept(connection, name) != password:
        raise LinesideError("this account is another one by now")
    connection.execute(delete(t).where(t.c.expires <= now))
    row = {"hash": hashed(token), "person": name, "created": now, "expires": now + SESSION_SECONDS}
    connection.execute(t.insert().values(**row))
    return token


def leave(connection: Connection, token: str) -> None:
    t = people_tables.session
    connection.execute(delete(t).where(t.c.hash == hashed(token)))


def of_session(connection: Connection, token: str) -> Asker | None:
    """Whose session it is."""
    t = people_tables.session
    mine = select(t.c.person).where(t.c.hash == hashed(token), t.c.expires > time.time())
    name = connection.scalar(mine)
    return None if name is None else Asker(name, roles(connection, name), account=True)


def roles(connection: Connection, name: str) -> tuple[tuple[str, str], ...]:
    """(role, node) of each role somebody has; one that this version does not know is none."""
    t = people_tables.bound
    rows = connection.execute(select(t.c.role, t.c.place).where(t.c.person == name).order_by(t.c.place, t.c.role))
    return tuple((role, place) for role, place in rows if role in ROLES)


def administered(connection: Connection) -> bool:
    """Whether somebody with an account looks after the whole plane: from then on the link lets nobody in."""
    t = people_tables.bound
    return connection.scalar(select(func.count()).where(t.c.role == "platform_admin", t.c.place == "")) != 0


def listed(connection: Connection) -> list[dict[str, Any]]:
    """Everybody: name, whether they come by a password or an OpenID provider, their roles, until when they are signed in."""
    p, s, now = people_tables.person, people_tables.session, time.time()
    until = dict(
        connection.execute(
            select(s.c.person, func.max(s.c.expires)).where(s.c.expires > now).group_by(s.c.person)
        ).all()
    )
    rows = connection.execute(select(p).order_by(p.c.name)).mappings().all()
    return [
        {
            "name": row["name"],
            "by": "password" if row["password"] else "openid",
            "roles": roles(connection, row["name"]),
            "until": until.get(row["name"], 0.0),
        }
        for row in rows
    ]


# Keys of programs


def add_key(connection: Connection, name: str, role: str, place: str, seconds: float) -> str:
    """A key that is told this once. Raises LinesideError."""
    role, place = bound(role, place)
    t = people_tables.apikey
    if connection.scalar(select(t.c.name).where(t.c.name == named(name))) is not None:
        raise LinesideError(f"there is a key called {name} already", hint="`apikey remove` it, or name another")
    token, now = KEY + secrets.token_urlsafe(32), time.time()
    row = {"name": name, "hash": hashed(token), "role": role, "place": place, "created": now, "expires": now + seconds}
    connection.execute(t.insert().values(**row))
    return token


def remove_key(connection: Connection, name: str) -> None:
    """Raises LinesideError."""
    t = people_tables.apikey
    if not connection.execute(delete(t).where(t.c.name == name)).rowcount:
        raise LinesideError(f"there is no key called {name!r}", hint="`lineside plane apikey list`")


def of_key(connection: Connection, token: str) -> Asker | None:
    """Who a program is, by its key."""
    t = people_tables.apikey
    mine = select(t.c.name, t.c.role, t.c.place).where(t.c.hash == hashed(token), t.c.expires > time.time())
    row = connection.execute(mine).first()
    return Asker(f"{PROGRAM}{row.name}", ((row.role, row.place),), account=True) if row and row.role in ROLES else None


def keys(connection: Connection) -> list[dict[str, Any]]:
    """Every key, without what it is."""
    t = people_tables.apikey
    wanted = select(t.c.name, t.c.role, t.c.place, t.c.created, t.c.expires).order_by(t.c.name)
    return [dict(row) for row in connection.execute(wanted).mappings()]
