"""NodeSet2 files (part 6, annex F) in the simulator, in the order in which they need each other."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.xmlimporter import XmlImporter

from edge import DeviceRefused, log

MOST_BYTES = 64_000_000
BASE = "http://opcfoundation.org/UA/"  # every server has it built in
SPACE = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"


class _Importer(XmlImporter):
    """asyncua's own look at the required models names nothing to a person; ours comes before."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, auto_load_definitions=False)  # else classes of all servers of a process mix, by name

    async def _add_variable_value(self, obj: Any) -> Any:
        try:
            return await super()._add_variable_value(obj)
        except Exception as error:
            if "ExtensionObject" in obj.valuetype:  # a structure that only this model knows: the node stays empty
                return ua.Variant()
            raise error

    async def _check_required_models(self, xmlpath: object = None, xmlstring: object = None) -> None:
        return


async def load(server: Server, files: Sequence[Path]) -> int:
    """Load files that are `in_order`; the number of nodes that came. Raises DeviceRefused, naming the file and what is wrong."""
    made = 0
    for path in files:
        try:
            nodes = await _Importer(server).import_xml(str(path))
        except Exception as error:  # whatever asyncua stumbles over
            raise DeviceRefused(f"{path} cannot be loaded: {type(error).__name__}: {error}") from None
        made += len(nodes)
        log.info("%s: %d nodes", path, len(nodes))
    return made


def in_order(files: Sequence[str]) -> list[Path]:
    """The files that have to be loaded, none before one that it needs. Raises DeviceRefused, naming the file and the model that is
    missing or what else is wrong with it."""
    models = {Path(name): models_of(Path(name)) for name in files}
    there = {uri for own, _ in models.values() for uri in own} | {BASE}
    for path, (_, needed) in models.items():
        for uri in needed:
            if uri not in there:
                raise DeviceRefused(f"{path} needs the model {uri}", hint="add its NodeSet2 file to `nodesets:`")
    loaded, out = {BASE}, []
    waiting = [path for path, (own, _) in models.items() if not set(own) <= {BASE}]
    while waiting:
        ready = [path for path in waiting if set(models[path][1]) - set(models[path][0]) <= loaded]
        if not ready:
            raise DeviceRefused(f"these models need each other in a circle: {', '.join(map(str, waiting))}")
        for path in ready:
            loaded |= set(models[path][0])
        out += ready
        waiting = [path for path in waiting if path not in ready]
    return out


def models_of(path: Path) -> tuple[list[str], list[str]]:
    """(the models in a file, those that they need), by URI. Raises DeviceRefused for what is no NodeSet2."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DeviceRefused(f"{path} is larger than {MOST_BYTES:,} bytes")
        text = path.read_bytes()
        if b"<!DOCTYPE" in text:
            raise DeviceRefused(f"{path} has a DOCTYPE, which no NodeSet2 has")
        root = ET.fromstring(text)
    except OSError as error:
        raise DeviceRefused(f"{path}: {error.strerror or error}") from None
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DeviceRefused(f"{path} is no XML: {error}") from None
    if root.tag != f"{SPACE}UANodeSet":
        raise DeviceRefused(f"{path} is no NodeSet2: it begins with {root.tag[:80]}")
    models = root.findall(f"{SPACE}Models/{SPACE}Model")
    own = [model.get("ModelUri", "") for model in models]
    needed = [needed.get("ModelUri", "") for model in models for needed in model.findall(f"{SPACE}RequiredModel")]
    return own, needed
