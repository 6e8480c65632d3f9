"""The float weights that lie beside a package, for another training to start from."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import torch

from .detector import Net

WEIGHTS = "float.npz"


def kept(net: Net, folder: Path) -> None:
    """Write the float weights beside a package, for another training to start from: half as exact, and half as large."""
    state = {name: held.numpy() for name, held in net.state_dict().items()}
    halves = {name: held.astype(np.float16) if held.dtype == np.float32 else held for name, held in state.items()}
    np.savez_compressed(folder / WEIGHTS, **halves)


def started(net: Net, folder: Path) -> None:
    """Take the float weights of a package; those of the last layer only where the labels are as many. Exits where they do not
    fit."""
    path = folder / WEIGHTS
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: torch.from_numpy(np.array(file[name])) for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else f"cannot be read ({type(error).__name__})"
        raise SystemExit(f"{folder}: {path.name}, the weights to start from: {why}") from None
    own = net.state_dict()
    fits = {name: value for name, value in held.items() if name in own and value.shape == own[name].shape}
    if strange := [name for name in own if name not in fits and not name.startswith("layers.heat.")]:
        raise SystemExit(f"{folder}: {strange[0]} is of another network; is --width the same?")
    net.load_state_dict({**own, **fits})


def width_of(folder: Path) -> float:
    """Of the network in a package that was trained here. Exits in words where it says none."""
    try:
        return float(json.loads((folder / "figures.json").read_text())["width"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(f"{folder}: figures.json, which says how wide its network is: cannot be read") from None
