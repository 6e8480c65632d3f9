"""A picture as a network of others takes it."""

from __future__ import annotations

import cv2
import numpy as np

from ..engines.contract import Tensor
from ..foreign import Given


def fitted(image: np.ndarray, size: tuple[int, int], given: Given) -> tuple[np.ndarray, tuple[float, float]]:
    """uint8[h, w] or [h, w, 3] (blue, green, red) -> the same of the network's height and width and with the channels it takes;
    and how many of its pixels one of the picture is (x, y)."""
    if given.channels == 1 and image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    elif given.channels == 3 and image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    (height, width), (tall, wide) = image.shape[:2], size
    if given.fit == "stretch":
        inner = (wide, tall)
    else:
        by = min(tall / height, wide / width)
        inner = (max(1, min(wide, round(width * by))), max(1, min(tall, round(height * by))))
    if inner != (width, height):
        how = cv2.INTER_AREA if inner[0] < width else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, inner, interpolation=how))
    if inner != (wide, tall):
        image = np.asarray(cv2.copyMakeBorder(image, 0, tall - inner[1], 0, wide - inner[0], cv2.BORDER_CONSTANT))
    return image, (inner[0] / width, inner[1] / height)


def tensor(image: np.ndarray, given: Given, spec: Tensor) -> np.ndarray:
    """What `fitted` gave, as the network's input: reordered, scaled, and in its integers where it takes such."""
    values = image[:, :, None] if image.ndim == 2 else image
    if given.colour == "rgb":
        values = values[:, :, ::-1]
    kind = np.dtype(spec.dtype)
    gain = np.asarray(given.white / 255 / np.array(given.std), np.float32)
    values = values * gain - np.asarray(np.array(given.mean) / np.array(given.std), np.float32)
    if kind.kind in "iu":
        if spec.scale:
            values = values / np.float32(spec.scale) + spec.zero
        ends = np.iinfo(kind)
        values = np.clip(np.rint(values), ends.min, ends.max)
    if given.layout != "nhwc":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values if given.layout == "chw" else values[None], kind)
