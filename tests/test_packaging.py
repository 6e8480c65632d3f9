"""The wheel holds what it needs, and works in an environment elsewhere."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("lineside-*.whl"))


@pytest.mark.system
def test_what_travels_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "drivers/modbus/sample.yaml",
        "drivers/opcua/README.md",
        "drivers/camera/capture.py",
        "models/engines/selftest/selftest.tflite",
        "sync/control_plane/migrations/versions/0001_first.py",
        "sync/control_plane/migrations/versions/0002_newest_first.py",
    ):
        assert wanted in names, wanted
    for wanted in (
        "demo.yaml",
        "lineside.service",
        "schema.json",
        "templates/three_phase_meter.yaml",
        "recipes/washer.yaml",
        "recipes/pictures/washer-good.jpg",
        "pairs/board/1_test.png",
    ):
        assert any(name.endswith(f"share/lineside/configs/{wanted}") for name in names), wanted
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.system
def test_it_works_elsewhere(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment with our wheel; the libraries are lent by the one that runs the tests."""
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it may name this checkout
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--ignore-installed",
            "--prefix",
            str(tmp_path / "venv"),
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    lent = tmp_path / "lent"
    lent.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(("lineside", "__editable__")):
            (lent / entry.name).symlink_to(entry)
    (Path(where) / "lent.pth").write_text(str(lent))

    def lineside(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, "-m", "edge.cli", *words], capture_output=True, text=True, cwd=tmp_path)

    sample = lineside("sample", "modbus")
    assert sample.returncode == 0, sample.stderr
    (tmp_path / "site.yaml").write_text(sample.stdout)
    checked = lineside("check", "site.yaml")
    assert checked.returncode == 0 and "fine" in checked.stdout, checked.stdout + checked.stderr
    tested = lineside("test", "site.yaml")
    assert tested.returncode == 0, tested.stdout
    (tmp_path / "meters.yaml").write_text(
        "device: {id: d}\ndrivers: {m: {driver: modbus, url: tcp://a, template: three_phase_meter}}\n"
    )
    meters = lineside("check", "meters.yaml")
    assert meters.returncode == 0 and "tags: 27" in meters.stdout, meters.stdout + meters.stderr
    code = "import edge; print(edge.__file__)"
    home = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path).stdout
    assert str(tmp_path) in home
