"""Signing in by an OpenID provider: the code flow with PKCE (RFC 6749, 7636; OpenID Connect Core 1.0, section 3.1).

What the provider says is believed for who somebody is at it (issuer and subject) and for their groups, and not for a name that
somebody has here already.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from sqlalchemy import Connection, delete, select
from urllib3.exceptions import HTTPError

from edge import LinesideError

from . import people, people_tables
from .openid_options import OpenIdOptions

FLOW_SECONDS = 600.0  # from the button to coming back
KNOWN_SECONDS = 3600.0  # that what a provider says of itself is remembered
SIGNED_WITH = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]  # never "none", nor a secret that both know
SKEW = 60.0  # seconds that its clock may differ from ours
MOST = 2**20  # bytes of an answer


class OpenIdFault(LinesideError):
    """Nobody is let in this way."""


@dataclass(frozen=True)
class Flow:
    """One way there and back, kept by the browser alone (signed)."""

    state: str
    nonce: str
    verifier: str
    until: float

    @classmethod
    def begin(cls) -> Flow:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, time.time() + FLOW_SECONDS)

    @property
    def words(self) -> str:
        return base64.urlsafe_b64encode(json.dumps(vars(self)).encode()).decode()

    @classmethod
    def read(cls, words: str | None) -> Flow:
        """Of words that are known to be ours. Raises OpenIdFault."""
        if words is None:
            raise OpenIdFault("this way in was not begun in this browser", hint="begin at the page of the plane")
        try:
            flow = cls(**json.loads(base64.urlsafe_b64decode(words)))
        except (ValueError, TypeError):  # ours, and signed for something else
            raise OpenIdFault("that is no way in", hint="begin at the page of the plane") from None
        if flow.until < time.time():
            raise OpenIdFault("that took too long", hint="begin again at the page of the plane")
        return flow

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


class OpenId:
    """One provider."""

    def __init__(self, options: OpenIdOptions) -> None:
        self.options = options
        more: dict[str, Any] = {"ca_certs": options.ca} if options.ca else {}
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=10), **more)
        self._told: tuple[float, dict[str, Any], jwk.KeySet] | None = None

    async def away(self, flow: Flow, back: str) -> str:
        """Where the browser goes. Raises OpenIdFault."""
        provider, _ = await asyncio.to_thread(self._provider)
        asked = {"response_type": "code", "client_id": self.options.client, "redirect_uri": back}
        asked |= {"scope": " ".join(self.options.scopes), "state": flow.state, "nonce": flow.nonce}
        asked |= {"code_challenge": flow.challenge, "code_challenge_method": "S256"}
        there = _address(provider, "authorization_endpoint")
        return f"{there}{'&' if '?' in there else '?'}{urlencode(asked)}"

    async def claims(self, flow: Flow, back: str, state: str, code: str) -> dict[str, Any]:
        """What the provider says of who has come back. Raises OpenIdFault."""
        if not secrets.compare_digest(state.encode(), flow.state.encode()):
            raise OpenIdFault("who comes back is not who went", hint="begin again at the page of the plane")
        return await asyncio.to_thread(self._claims, flow, back, code)

    def _claims(self, flow: Flow, back: str, code: str) -> dict[str, Any]:
        provider, keys = self._provider()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": flow.verifier}
        who = f"{quote(self.options.client, safe='')}:{quote(self.options.secret, safe='')}"
        basic = {"Authorization": f"Basic {base64.b64encode(who.encode()).decode()}"}
        said = self._asked("POST", _address(provider, "token_endpoint"), basic, form)
        found = self._proven(str(said.get("id_token", "")), keys, flow)
        if self.options.groups not in found and "userinfo_endpoint" in provider:
            bearer = {"Authorization": f"Bearer {said.get('access_token', '')}"}
            more = self._asked("GET", _address(provider, "userinfo_endpoint"), bearer)
            if more.get("sub") != found["sub"]:
                raise OpenIdFault("the provider tells of somebody else than who has come")
            found = {**more, **found}
        return found

    def _proven(self, token: str, keys: jwk.KeySet, flow: Flow) -> dict[str, Any]:
        """The claims of an ID token: signed by the provider, for us, for this very way in, and not over."""
        try:
            found = jwt.decode(token, keys, algorithms=SIGNED_WITH).claims
            registry = jwt.JWTClaimsRegistry(
                leeway=round(SKEW),
                iss={"essential": True, "value": self.options.issuer},
                aud={"essential": True, "value": self.options.client},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": flow.nonce},
            )
            registry.validate(found)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            self._told = None  # it may have other keys by now
            raise OpenIdFault(f"what the provider says cannot be believed: {error}") from None
        several = isinstance(found["aud"], list) and len(found["aud"]) > 1
        if (several or "azp" in found) and found.get("azp") != self.options.client:
            raise OpenIdFault("what the provider says was said to somebody else")
        return dict(found)

    def _provider(self) -> tuple[dict[str, Any], jwk.KeySet]:
        """What it says of itself, and its keys."""
        if self._told and self._told[0] > time.monotonic():
            return self._told[1:]
        found = self._asked("GET", f"{self.options.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.options.issuer:
            raise OpenIdFault(f"it calls itself {str(found.get('issuer'))[:200]!r}, and not {self.options.issuer!r}")
        try:
            keys = jwk.KeySet.import_key_set(self._asked("GET", _address(found, "jwks_uri")))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OpenIdFault(f"the keys of the provider cannot be read: {error}") from None
        self._told = (time.monotonic() + KNOWN_SECONDS, found, keys)
        return found, keys

    def _asked(
        self, method: str, url: str, headers: dict[str, str] | None = None, form: dict[str, str] | None = None
    ) -> dict[str, Any]:
        heads = {"Accept": "application/json", **(headers or {})}
        more: dict[str, Any] = {"fields": form, "encode_multipart": False} if form else {}
        try:
            answer = self._http.request(method, url, headers=heads, redirect=False, preload_content=False, **more)
            try:
                body = answer.read(MOST + 1, decode_content=False)
            finally:
                answer.close()
            found = json.loads(body) if len(body) <= MOST else None
        except (HTTPError, OSError) as error:
            raise OpenIdFault(f"the provider does not answer: {error}") from None
        except ValueError:
            found = None
        if answer.status != 200 or not isinstance(found, dict):
            why = str(found.get("error", "")) if isinstance(found, dict) else ""
            raise OpenIdFault(f"the provider answers {answer.status} {why[:100]}".rstrip())
        return found


def _address(provider: dict[str, Any], what: str) -> str:
    url = str(provider.get(what, ""))
    if not url.startswith(("https://", "http://")):
        raise OpenIdFault(f"the provider names no {what}")
    return url


def come(connection: Connection, options: OpenIdOptions, claims: dict[str, Any]) -> tuple[str, str] | None:
    """(name, session) of who has come, with the roles that their groups have now; a new account for who is new. None for who has no
    role any more: they are signed out everywhere. Raises LinesideError."""
    outside = f"{options.issuer} {claims['sub']}"
    t = people_tables.person
    name = connection.scalar(select(t.c.name).where(t.c.outside == outside))
    said = claims.get(options.groups)
    groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    given = {people.bound(one.role, one.at) for group in groups for one in options.roles.get(str(group), [])}
    if name is not None:
        b = people_tables.bound
        connection.execute(delete(b).where(b.c.person == name, b.c.by == people.OUTSIDE))
    if not given and not (name and people.roles(connection, name)):
        if name is not None:
            people.end(connection, name)
        return None
    if name is None:
        name = people.named(str(claims.get(options.name) or claims["sub"]))
        if people.known(connection, name):
            raise OpenIdFault(f"{name} is somebody else's account here", hint=f"`lineside plane person remove {name}`")
        people.add(connection, name, "", outside)
    for role, place in given:
        people.bind(connection, name, role, place, people.OUTSIDE)
    return name, people.begin(connection, name, people.kept(connection, name))
