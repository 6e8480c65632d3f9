"""Pictures out of bytes."""

from __future__ import annotations

import cv2
import numpy as np


def decoded(body: bytes, how: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray | None:
    """uint8[h, w], or as `how` says; None for what is no picture, or says that it is larger than OpenCV takes."""
    try:
        image = cv2.imdecode(np.frombuffer(body, np.uint8), how) if body else None
    except cv2.error:
        return None
    return None if image is None else np.asarray(image)
