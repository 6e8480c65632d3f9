"""Trains the shipped package `washer` on rendered parts: `make train`, or `python -m models.train.washer`.

Float first (PyTorch), then int8 by our own writer, then the gate: int8 has to decide as float does. Seeds of training,
calibration and test are disjoint; the test is 2,000 parts that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from edge import find_part

from ..engines.int8 import Conv, compile_int8
from ..engines.tflite import LiteRt
from ..package import SHIPPED

CROP, SIZE = 240, 120
LABELS = ("good", "missing_hole", "scratch", "stain", "chipped_edge")
SHAPES = ((1, 12, 3, 2), (12, 20, 3, 2), (20, 24, 3, 1), (24, 32, 3, 2), (32, 40, 3, 2), (40, len(LABELS), 8, 1))
TRAIN, CALIBRATE, TEST = range(6000), range(6000, 6300), range(1_000_000, 1_002_000)
NG_ABOVE, OK_BELOW = 0.5, 0.2


CARD = """# washer

A classifier of washer plates ({labels}), for the tool `classify`.

- Data: {data}; ranges of int8 from {calibrate}
- Licence: Apache-2.0
- Seed 1, {epochs} epochs
- On {many} further parts (seeds {first} to {last}), on which nothing was chosen: accuracy {accuracy:.2%};
  of defects {escape:.1%} OK, of good parts {overkill:.1%} NG; int8 decides as float in {same:.2%}
"""
DATA = f"{len(TRAIN)} parts rendered by the simulated camera, seeds {TRAIN.start} to {TRAIN.stop - 1}"
EPOCHS = 40


def pictures(seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """uint8[n, SIZE, SIZE] and int64[n]; half of the parts are good."""
    render: Any = find_part("sims", "parts").render
    x = np.empty((len(seeds), SIZE, SIZE), np.uint8)
    y = np.empty(len(seeds), np.int64)
    for i, seed in enumerate(seeds):
        y[i] = 0 if seed % 2 else 1 + (seed // 2) % (len(LABELS) - 1)
        image = render(seed, LABELS[y[i]] if y[i] else "")[:, :, 0]
        left = (image.shape[1] - CROP) // 2
        x[i] = cv2.resize(image[:, left : left + CROP], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return x, y


class Net(nn.Module):
    """A chain of convolutions; SAME padding as TFLite pads (more after than before), the last one sees all that is left."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(i, o, k, s) for i, o, k, s in SHAPES)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _, _ in SHAPES[:-1])

    def forward(self, x: torch.Tensor, seen: list[torch.Tensor] | None = None) -> torch.Tensor:
        for number, layer in enumerate(self.layers):
            last = number == len(SHAPES) - 1
            k, s = SHAPES[number][2:]
            if not last:
                need = max(0, (-(-x.shape[2] // s) - 1) * s + k - x.shape[2])
                x = nn.functional.pad(x, (need // 2, need - need // 2, need // 2, need - need // 2))
            x = layer(x) if last else torch.relu(self.norms[number](layer(x)))
            if seen is not None:
                seen.append(x)
        return x.flatten(1)

    def folded(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight [out, kh, kw, in] and bias [out] of a convolution with its normalisation taken in."""
        layer: Any = self.layers[number]
        weight, bias = layer.weight.detach(), layer.bias.detach()
        if number < len(self.norms):
            norm: Any = self.norms[number]
            gain = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
            weight, bias = weight * gain[:, None, None, None], (bias - norm.running_mean) * gain + norm.bias.detach()
        return weight.numpy().transpose(0, 2, 3, 1), bias.numpy()


def train(x: np.ndarray, y: np.ndarray, epochs: int) -> Net:
    torch.manual_seed(1)
    net = Net()
    rate = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-4)
    steps = epochs * (len(x) // 64)
    plan = torch.optim.lr_scheduler.OneCycleLR(rate, 4e-3, total_steps=steps)
    began, done = time.monotonic(), 0
    weight = torch.tensor([1.0] + [1.2] * (len(LABELS) - 1))
    for epoch in range(epochs):
        order, total = torch.randperm(len(x)), 0.0
        for start in range(0, len(x) - 63, 64):
            pick = order[start : start + 64].numpy()
            part = torch.from_numpy(augmented(x[pick], epoch * 100_000 + start)).float()[:, None] / 255
            loss = nn.functional.cross_entropy(net(part), torch.from_numpy(y[pick]), weight, label_smoothing=0.01)
            rate.zero_grad()
            loss.backward()
            rate.step()
            plan.step()
            total, done = total + loss.item(), done + 1
        left = (time.monotonic() - began) / done * (steps - done)
        print(
            f"epoch {epoch + 1} of {epochs}: loss {total / (len(x) // 64):.4f}, about {left:.0f} s to go",
            file=sys.stderr,
        )
    return net.eval()


def augmented(x: np.ndarray, seed: int) -> np.ndarray:
    """Mirrored, turned by quarters, moved and lit otherwise."""
    rng = np.random.default_rng(seed)
    out = np.rot90(x, int(rng.integers(4)), (1, 2))
    out = out[:, :, ::-1] if rng.random() < 0.5 else out
    out = np.roll(out, tuple(rng.integers(-4, 5, 2)), (1, 2))
    return np.clip(out * rng.uniform(0.9, 1.1, (len(x), 1, 1)), 0, 255).astype(np.float32)


def compiled(net: Net, x: np.ndarray) -> bytes:
    """The int8 model, its ranges calibrated on pictures x."""
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        net(torch.from_numpy(x).float()[:, None] / 255, seen)
    layers = []
    for number, out in enumerate(seen):
        weight, bias = net.folded(number)
        last = number == len(SHAPES) - 1
        layers.append(Conv(weight, bias, SHAPES[number][3], float(out.min()), float(out.max()), not last, not last))
    return compile_int8((SIZE, SIZE, 1), layers)


def judged(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Accuracy by class, share of defects called OK (escape), share of good parts called NG (overkill)."""
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    defect = 1 - chances[:, 0] / chances.sum(axis=1)
    return {
        "accuracy": float((logits.argmax(axis=1) == y).mean()),
        "escape": float((defect[y > 0] < OK_BELOW).mean()),
        "overkill": float((defect[y == 0] >= NG_ABOVE).mean()),
    }


def write(folder: Path, model: bytes, x: np.ndarray, figures: dict[str, Any], epochs: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "washer.tflite").write_bytes(model)
    run = LiteRt().load(folder / "washer.tflite")
    given = (x[:10].astype(np.int16) - 128).astype(np.int8)[..., None]
    np.savez_compressed(
        folder / "golden.npz", input=given, output=np.stack([run(g[None])[0].copy().ravel() for g in given])
    )
    labels = "\n".join(f"  - {label}" for label in LABELS)
    (folder / "model.yaml").write_text(
        f"name: washer\nversion: 1\ntask: classify\nengine: tflite\nweights: washer.tflite\n"
        f'sha256: "{hashlib.sha256(model).hexdigest()}"\ncrop: [{CROP}, {CROP}]\nsize: [{SIZE}, {SIZE}]\nlabels:\n{labels}\n'
        f"ng_above: {NG_ABOVE}\nok_below: {OK_BELOW}\ntolerance: 2\nlicence: Apache-2.0\n"
        f"data: {DATA}\n"
    )
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "card.md").write_text(card(figures, epochs))


def card(figures: dict[str, Any], epochs: int = EPOCHS) -> str:
    """What a person has to know before trusting it."""
    return CARD.format(
        labels=", ".join(LABELS),
        data=DATA,
        calibrate=f"seeds {CALIBRATE.start} to {CALIBRATE.stop - 1}",
        epochs=epochs,
        many=figures["test_parts"],
        first=TEST.start,
        last=TEST.stop - 1,
        same=figures["same_decision"],
        **figures["int8"],
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=SHIPPED / "washer")
    options = parser.parse_args()
    torch.set_num_threads(2)
    print("rendering the parts ...", file=sys.stderr)
    net = train(*pictures(TRAIN), options.epochs)
    model = compiled(net, pictures(CALIBRATE)[0])
    x, y = pictures(TEST)
    with torch.no_grad():
        float_logits = np.concatenate(
            [net(torch.from_numpy(p).float()[:, None] / 255).numpy() for p in np.array_split(x, 20)]
        )
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "washer.tflite").write_bytes(model)
    run = LiteRt().load(folder / "washer.tflite")
    spec = run.outputs[0]
    given = (x.astype(np.int16) - 128).astype(np.int8)[..., None]
    int8_logits = np.stack([(run(g[None])[0].ravel().astype(float) - spec.zero) * spec.scale for g in given])
    same = float((float_logits.argmax(axis=1) == int8_logits.argmax(axis=1)).mean())
    figures = {
        "test_parts": len(y),
        "float": judged(float_logits, y),
        "int8": judged(int8_logits, y),
        "same_decision": same,
    }
    print(json.dumps(figures))
    gate = figures["int8"]["accuracy"] >= 0.98, same >= 0.99  # type: ignore[index]
    if not all(gate):
        print("refused: not good enough" if gate[1] else "refused: int8 does not decide as float does", file=sys.stderr)
        return 1
    write(folder, model, x, figures, options.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
