"""The tables of people, what they are where, their sessions, and the keys of programs."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, String, Table

from .tables import PATH, metadata

person = Table(
    "person",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("password", String(200), nullable=False),
    Column("outside", String(300), nullable=False),  # issuer and subject at an OpenID provider, see openid.py
    Column("created", Float, nullable=False),
    Index("person_outside", "outside"),
)
bound = Table(  # what somebody is, and at which node of the tree
    "bound",
    metadata,
    Column("person", String(64), primary_key=True),
    Column("role", String(40), primary_key=True),
    Column("place", PATH, primary_key=True),
    Column("by", String(20), nullable=False),
)
session = Table(
    "session",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("person", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Index("session_person", "person"),
    Index("session_expires", "expires"),
)
apikey = Table(
    "apikey",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("role", String(40), nullable=False),
    Column("place", PATH, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Index("apikey_hash", "hash"),
)
