"""Who may import whom (DESIGN: edge knows nobody, others know only edge's public names)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge", "drivers", "models", "sync")
ENDS = (("sync.device", "sync.control_plane"), ("sync.control_plane", "sync.device"))
PUBLIC = {"edge", "edge.testing"}
ONE_HOME = {
    "pymodbus": ("drivers/modbus/",),
    "argon2": ("sync/control_plane/people.py",),
    "joserfc": ("sync/control_plane/openid.py",),
    "minio": ("sync/control_plane/objects.py",),
    "psycopg": ("sync/control_plane/database.py",),
    "cv2": ("drivers/camera/", "drivers/replay/", "models/vision/", "models/train/"),
    "paho": ("sync/mqtt_line.py", "sync/device/mqtt", "drivers/mqtt/"),
    "regex": ("drivers/serialport/",),
    "serial": ("drivers/modbus/", "drivers/serialport/"),
    "yaml": ("edge/config/places.py", "edge/config/dump.py"),
    "apsw": (
        "edge/journal.py",
        "edge/committing.py",
        "edge/reading.py",
        "edge/standing.py",
        "edge/numbers.py",
        "edge/records.py",
        "edge/rows.py",
        "edge/migrations.py",
        "edge/retention.py",
        "edge/disk.py",
        "edge/room.py",
        "edge/tail.py",
        "edge/outlook.py",
        "edge/span.py",
        "edge/salvage.py",
        "edge/damaged.py",
        "edge/transplant.py",
        "edge/commands/doctor.py",
        "edge/cases/nearest.py",
    ),
    "asyncua": ("drivers/opcua/",),
    "pyarrow": ("edge/parquet.py",),
    "ai_edge_litert": ("models/",),
    "onnxruntime": ("models/",),
    "segno": ("sync/control_plane/invite.py",),
    "tuf": ("sync/updates/", "sync/device/updates.py"),
    "securesystemslib": ("sync/updates/",),
    "torch": ("models/train/",),
    "onnx": ("models/train/",),
}


def imports(path: Path) -> list[str]:
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            found.append(".".join(filter(None, (base, node.module))))
    return found


def modules() -> list[Path]:
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py")) if "node_modules" not in p.parts]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rules(path: Path) -> None:
    home = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        top = name.split(".")[0]
        if top in PACKAGES and top != home:
            assert home != "edge", f"{path} imports {name}: edge knows nobody"
            assert top == "edge", f"{path} imports {name}: {home} and {top} do not know each other"
            assert name in PUBLIC, f"{path} imports {name}: only edge's public names"
        if home == "drivers" and top == "drivers" and name.count("."):
            assert name.split(".")[1] == path.relative_to(ROOT).parts[1], f"{path}: no driver imports another"
        for one, other in ENDS:
            known = name.startswith(f"{other}.") and path.is_relative_to(ROOT / one.replace(".", "/"))
            assert not known, f"{path} imports {name}: the two ends share what stands beside wire.py, and nothing else"
        if top in ONE_HOME:
            at = path.relative_to(ROOT).as_posix()
            assert at.startswith(ONE_HOME[top]), f"{at} imports {top}, which belongs to {ONE_HOME[top]}"


def test_public_names_exist() -> None:
    import edge

    assert sorted(edge.__all__) == sorted(set(edge.__all__))
    assert all(hasattr(edge, name) for name in edge.__all__)
