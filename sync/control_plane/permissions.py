"""Who may do what at the plane: one table of roles, one of routes. A route that is not in it is not served (access.py), and the
tests take from here what each role gets of each route."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

PERMISSIONS = {
    "watch": "see devices, their values, alarms, events, parts and pictures",
    "alarm": "acknowledge and shelve alarms",
    "review": "say what a part is",
    "write": "set a tag of a device",
    "command": "have a device do something: a picture, a self-test, live mode",
    "configure": "change what a device is configured to do",
    "case": "write fault cases",
    "model": "bring models, and move them from stage to stage",
    "maintain": "say what was done to an asset and which parts it has, work orders",
    "asset": "name assets, their tags and what is due",
    "roll": "bring what is released to devices, in waves",
    "enrol": "invite devices, place them, let them in no more",
    "records": "look at and discard what could not be read, send once more what was refused",
    "people": "accounts, roles and keys",
    "audit": "read who did what",
    "plane": "what belongs to the whole plane and to nobody below it",
}
_SEES = frozenset({"watch"})
_OPERATES = _SEES | {"alarm", "review", "maintain"}
_ENGINEERS = _OPERATES | {"write", "command", "configure", "case", "records", "asset"}
_ADMINISTERS = frozenset(PERMISSIONS) - {"plane"}
ROLES: dict[str, frozenset[str]] = {
    "viewer": _SEES,
    "operator": _OPERATES,
    "engineer": _ENGINEERS,
    "model_maker": _SEES | {"review", "model"},
    "fleet_manager": _SEES | {"alarm", "command", "configure", "roll", "enrol", "records", "asset", "maintain"},
    "tenant_admin": _ADMINISTERS,
    "auditor": _SEES | {"audit"},
    "platform_admin": frozenset(PERMISSIONS),  # at the root of the tree only
}


class Of(StrEnum):
    """Whose what a route is about is, and so where in the tree its permission has to be held."""

    DEVICE = "the device in its path"  # looked at before the route runs
    EACH = "each device it tells of or changes"  # the route takes an `Asks` and narrows by it
    PLANE = "the whole plane"  # held at the root
    SELF = "who asks"  # whoever is signed in
    ANYONE = "nobody's"  # also who is not


class Need(NamedTuple):
    permission: str
    of: Of
    recorded: bool = False  # in the audit, though it is no change or nobody has signed in yet
    secret: bool = False  # its body says a password, of which the audit keeps nothing


TABLE: dict[str, Need] = {
    "GET /login": Need("", Of.ANYONE, recorded=True),
    "GET /login/openid": Need("", Of.ANYONE),
    "GET /login/openid/back": Need("", Of.ANYONE, recorded=True),
    "GET /api/login": Need("", Of.ANYONE),
    "POST /api/login": Need("", Of.ANYONE, recorded=True),
    "POST /api/logout": Need("", Of.SELF),
    "GET /api/me": Need("", Of.SELF),
    "POST /api/password": Need("", Of.SELF, secret=True),
    "GET /api/audit": Need("audit", Of.EACH),
    "GET /api/audit/chain": Need("audit", Of.PLANE),
    "GET /api/people": Need("people", Of.EACH),
    "POST /api/people": Need("people", Of.EACH, secret=True),
    "POST /api/people/{name}/password": Need("people", Of.EACH, secret=True),
    "POST /api/people/{name}/signout": Need("people", Of.EACH),
    "POST /api/people/{name}/roles": Need("people", Of.EACH),
    "DELETE /api/people/{name}/roles": Need("people", Of.EACH),
    "DELETE /api/people/{name}": Need("people", Of.EACH),
    "GET /api/keys": Need("people", Of.EACH),
    "POST /api/keys": Need("people", Of.EACH),
    "DELETE /api/keys/{name}": Need("people", Of.EACH),
    "GET /api/tree": Need("watch", Of.EACH),
    "GET /api/dossier": Need("watch", Of.EACH),
    "GET /{path:path}": Need("", Of.ANYONE),
    "GET /openapi.json": Need("", Of.SELF),
    "GET /api/devices": Need("watch", Of.EACH),
    "GET /api/devices/{device}/ddi": Need("watch", Of.DEVICE),
    "GET /api/devices/{device}/tags": Need("watch", Of.DEVICE),
    "GET /api/devices/{device}/series": Need("watch", Of.DEVICE),
    "GET /api/devices/{device}/complete": Need("watch", Of.DEVICE),
    "GET /api/devices/{device}/twin": Need("watch", Of.DEVICE),
    "GET /api/devices/{device}/config": Need("watch", Of.DEVICE),
    "POST /api/devices/{device}/config": Need("configure", Of.DEVICE),
    "GET /api/config": Need("watch", Of.EACH),
    "GET /api/config/{layer:path}": Need("watch", Of.EACH),
    "PUT /api/config/{layer:path}": Need("configure", Of.EACH),
    "POST /api/config/check/{layer:path}": Need("configure", Of.EACH),
    "POST /api/config/send/{layer:path}": Need("configure", Of.EACH),
    "GET /api/alarms": Need("watch", Of.EACH),
    "POST /api/devices/{device}/alarms/{key}": Need("alarm", Of.DEVICE),
    "POST /api/devices/{device}/tags/{tag}": Need("write", Of.DEVICE),
    "POST /api/devices/{device}/normal/{stage}": Need("configure", Of.DEVICE),
    "POST /api/devices/{device}/commands": Need("command", Of.DEVICE),
    "GET /api/devices/{device}/commands": Need("watch", Of.DEVICE),
    "GET /api/devices/{device}/commands/{number}": Need("watch", Of.DEVICE),
    "GET /api/events": Need("watch", Of.EACH),
    "GET /api/pictures/{digest}": Need("watch", Of.EACH),
    "GET /api/live": Need("watch", Of.EACH),
    "GET /api/inspections": Need("watch", Of.EACH),
    "GET /api/devices/{device}/inspections/{epoch}/{seq}": Need("watch", Of.DEVICE),
    "POST /api/devices/{device}/reviews": Need("review", Of.DEVICE),
    "GET /api/proof": Need("watch", Of.EACH),
    "GET /api/rules": Need("watch", Of.EACH),
    "GET /api/forwarding": Need("watch", Of.PLANE),
    "POST /api/forwarding/again": Need("plane", Of.PLANE),
    "GET /api/refused": Need("watch", Of.EACH),
    "GET /api/refused/count": Need("watch", Of.EACH),
    "GET /api/refused/body": Need("records", Of.EACH),
    "POST /api/refused/discard": Need("records", Of.EACH),
    "GET /api/cases/graph": Need("watch", Of.EACH),
    "GET /api/cases/file": Need("watch", Of.EACH),
    "POST /api/cases/file": Need("case", Of.EACH),
    "GET /api/cases": Need("watch", Of.EACH),
    "GET /api/cases/{number}": Need("watch", Of.EACH),
    "POST /api/cases": Need("case", Of.EACH),
    "PUT /api/cases/{number}": Need("case", Of.EACH),
    "DELETE /api/cases/{number}": Need("case", Of.EACH),
    "GET /api/devices/{device}/case": Need("watch", Of.DEVICE),
    "GET /api/models": Need("watch", Of.PLANE),
    "POST /api/models/{name}/{version}": Need("model", Of.PLANE),
    "GET /api/rollouts": Need("watch", Of.EACH),
    "GET /api/rollouts/{number}": Need("watch", Of.EACH),
    "GET /api/rollouts/{number}/devices": Need("watch", Of.EACH),
    "GET /api/assets": Need("watch", Of.EACH),
    "POST /api/assets": Need("asset", Of.EACH),
    "GET /api/assets/export": Need("watch", Of.EACH),
    "POST /api/assets/import": Need("asset", Of.EACH),
    "GET /api/assets/{number}": Need("watch", Of.EACH),
    "PUT /api/assets/{number}": Need("asset", Of.EACH),
    "DELETE /api/assets/{number}": Need("asset", Of.EACH),
    "POST /api/assets/{number}/parts": Need("maintain", Of.EACH),
    "POST /api/assets/{number}/maintenance": Need("maintain", Of.EACH),
    "POST /api/assets/{number}/work-orders": Need("maintain", Of.EACH),
    "GET /api/work-orders": Need("watch", Of.EACH),
    "GET /api/work-orders/export": Need("watch", Of.EACH),
    "POST /api/work-orders/{number}": Need("maintain", Of.EACH),
    "GET /api/updates": Need("roll", Of.EACH),
    "POST /api/rollouts": Need("roll", Of.EACH),
    "POST /api/rollouts/{number}": Need("roll", Of.EACH),
}
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
