"""Real tokens of PKCS #11 with a key on them: a TPM (swtpm, by tpm2-pkcs11), and SoftHSM."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edge.bench.process import free_port, wait_for

WHERE = (Path("/usr/lib"), Path("/usr/local/lib"))
PIN = "5678"


class Token(NamedTuple):
    """`uri` names the key; `env` is what programs need in theirs to find the token."""

    uri: str
    env: dict[str, str]

    def forget(self) -> None:
        """What the kernel's resource manager (/dev/tpmrm0) does when a program ends; swtpm has none."""
        if (at := self.env.get("TPM2_PKCS11_TCTI")) is not None:
            command = ["tpm2_flushcontext", "--tcti", at, "--transient-object"]
            subprocess.run(command, check=True, capture_output=True)


def _module(name: str) -> Path:
    found = next((file for folder in WHERE for file in folder.rglob(name)), None)
    engine = next((file for folder in WHERE for file in folder.rglob("engines-3/pkcs11.so")), None)
    if found is None or engine is None or not shutil.which("pkcs11-tool"):
        pytest.skip(f"there is no {name}, libp11's engine or pkcs11-tool here: make system-packages")
    return found


def _made(module: Path, folder: Path, env: dict[str, str]) -> Token:
    """As docs/identity.md says it."""

    def tool(*words: str) -> None:
        command = ["pkcs11-tool", "--module", str(module), *words]
        done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    tool("--slot-index", "0", "--init-token", "--label", "lineside", "--so-pin", "1234")
    tool(
        "--token-label", "lineside", "--login", "--login-type", "so", "--so-pin", "1234", "--init-pin", "--new-pin", PIN
    )
    key = ("--keypairgen", "--key-type", "EC:prime256v1", "--usage-sign", "--label", "device")
    tool("--token-label", "lineside", "--login", "--pin", PIN, *key)
    (folder / "pin").write_text(f"{PIN}\n")
    (folder / "pin").chmod(0o600)
    return Token(f"pkcs11:token=lineside;object=device?module-path={module}&pin-source=file:{folder}/pin", env)


def _free(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) != 0


@contextlib.contextmanager
def softhsm(folder: Path) -> Iterator[Token]:
    module = _module("libsofthsm2.so")
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    yield _made(module, folder, {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")})


@contextlib.contextmanager
def tpm(folder: Path) -> Iterator[Token]:
    module = _module("libtpm2_pkcs11.so*")
    if not shutil.which("swtpm") or not shutil.which("tpm2_flushcontext"):
        pytest.skip("swtpm or tpm2-tools is not installed: make system-packages")
    (folder / "store").mkdir(parents=True)
    port = next(port for port in iter(free_port, 0) if _free(port + 1))  # the second one is that of its control
    ends = ("--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}", "--pid", f"file={folder}/pid")
    words = ("--tpmstate", f"dir={folder}", "--flags", "not-need-init,startup-clear")
    process = subprocess.Popen(["swtpm", "socket", "--tpm2", *words, *ends], stderr=subprocess.DEVNULL)
    try:
        wait_for((folder / "pid").exists, 120, "swtpm")
        env = {"TPM2_PKCS11_TCTI": f"swtpm:host=127.0.0.1,port={port}", "TPM2_PKCS11_STORE": str(folder / "store")}
        yield _made(module, folder, {**env, "TPM2_PKCS11_LOG_LEVEL": "0", "TSS2_LOG": "all+none"})
    finally:
        process.terminate()
        process.wait(20)
