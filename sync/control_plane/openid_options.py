"""What a person writes about who else says who somebody is: `openid:` in the plane's file."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from edge import LinesideError

from .people import bound


class RoleOptions(BaseModel):
    """A role at a node."""

    model_config = {"extra": "forbid", "frozen": True}
    role: str = Field(max_length=40, description="as in docs/people.md")
    at: str = Field("", max_length=200, description="node of the tree; default: the root, the whole plane")

    @field_validator("role")
    @classmethod
    def _is_one(cls, role: str) -> str:
        try:
            return bound(role, "")[0]
        except LinesideError as error:
            raise ValueError(str(error)) from None


class OpenIdOptions(BaseModel):
    """An OpenID provider: people sign in there, and their groups say what they are here."""

    model_config = {"extra": "forbid", "frozen": True}
    issuer: str = Field(max_length=500, description="https://login.example/realm, as it calls itself")
    client: str = Field(min_length=1, max_length=200, description="the name of this plane at the provider")
    secret: str = Field(min_length=1, max_length=500, description="and its secret there", repr=False)
    title: str = Field("OpenID", min_length=1, max_length=60, description="what the button says")
    ca: str = Field("", description="file with the certificate of the authority that the provider has one of")
    scopes: list[str] = Field(["openid", "profile", "email"], max_length=20, description="what is asked for")
    name: str = Field("preferred_username", max_length=80, description="the claim that is a person's name here")
    groups: str = Field("groups", max_length=80, description="the claim that lists a person's groups")
    roles: dict[str, list[RoleOptions]] = Field(min_length=1, description="group: what its members are")

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, issuer: str) -> str:
        try:
            parts = urlsplit(issuer)
            port = parts.port
        except ValueError:
            raise ValueError("that is no address") from None
        if port == 0 or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("that is no address of a provider, as in https://login.example/realm")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError("write https://; what it says decides who gets in")
        return issuer

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, scopes: list[str]) -> list[str]:
        if "openid" not in scopes:
            raise ValueError("`openid` belongs to them")
        return scopes

    @field_validator("roles")
    @classmethod
    def _are_some(cls, roles: dict[str, list[RoleOptions]]) -> dict[str, list[RoleOptions]]:
        for group, given in roles.items():
            for one in given:
                try:
                    bound(one.role, one.at)
                except LinesideError as error:
                    raise ValueError(f"{group}: {error}") from None
        return roles


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
