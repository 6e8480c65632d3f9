"""The last fraction of a pixel: a shift (and turn, and scale) fitted by least squares on a template's strongest edges."""

from __future__ import annotations

import cv2
import numpy as np

POINTS = 16384  # pixels that are fitted on; remap takes 32767 in a row
FEW = 4  # of that many points one does until the last step was below NEAR pixels
NEAR = 0.03
LEAST = 64  # places of a fit
ROUNDS = 12
SMOOTH = 1.0  # pixels


class Points:
    """Places float32[n] from the middle, what the template shows there, and its slopes float32[k, n] by each unknown."""

    def __init__(self, x: np.ndarray, y: np.ndarray, want: np.ndarray, slopes: np.ndarray) -> None:
        self.x, self.y, self.want, self.slopes = x, y, want, slopes
        self.products = slopes.astype(np.float64) @ slopes.T

    def thinned(self) -> Points:
        each = (one[..., ::FEW].copy() for one in (self.x, self.y, self.want, self.slopes))
        return Points(*each)


class Fit:
    """Fits any picture of one size to one template. Light may differ by gain and offset; what is no edge of the template (a
    defect) is bounded in its say."""

    def __init__(self, template: np.ndarray, turns: bool, scales: bool) -> None:
        soft = cv2.GaussianBlur(template, (0, 0), SMOOTH).astype(np.float32)
        slope_x, slope_y = (
            cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.125),
            cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.125),
        )
        h, w = template.shape
        self._middle = np.array([(w - 1) / 2, (h - 1) / 2], np.float32)
        strength = slope_x**2 + slope_y**2
        strength[:2], strength[-2:], strength[:, :2], strength[:, -2:] = 0, 0, 0, 0
        at = np.sort(
            np.argpartition(strength.ravel(), -min(POINTS, strength.size // 2))[-min(POINTS, strength.size // 2) :]
        )
        rows, columns = np.divmod(at, w)
        x, y = (columns - self._middle[0]).astype(np.float32), (rows - self._middle[1]).astype(np.float32)
        gx, gy = slope_x.ravel()[at], slope_y.ravel()[at]
        slopes = [gx, gy]
        slopes += [gy * x - gx * y] if turns else []
        slopes += [gx * x + gy * y] if scales else []
        self._turns, self._scales = turns, scales
        self._all = Points(x, y, soft.ravel()[at], np.stack(slopes).astype(np.float32))
        self._few = self._all.thinned() if len(x) >= LEAST * FEW else self._all

    def __call__(self, image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """`matrix` float64[2, 3] from template to picture, improved; as it was where nothing can be fitted."""
        soft = cv2.GaussianBlur(image, (0, 0), SMOOTH).astype(np.float32)
        now = np.vstack([matrix, (0, 0, 1)])
        to_middle = np.eye(3)
        to_middle[:2, 2] = self._middle
        now = np.linalg.inv(to_middle) @ now @ to_middle
        points = self._few
        for _ in range(ROUNDS):
            step = self._step(soft, now, points)
            if step is None and points is self._all:
                return matrix
            if step is not None:
                now = now @ np.linalg.inv(step)
                moved = np.abs(step[:2, 2]).max()
                if points is self._all and moved < 1e-3 and abs(step[1, 0]) < 1e-6 and abs(step[0, 0] - 1) < 1e-6:
                    break
            if step is None or moved < NEAR:
                points = self._all
        return (to_middle @ now @ np.linalg.inv(to_middle))[:2]

    def _step(self, soft: np.ndarray, now: np.ndarray, points: Points) -> np.ndarray | None:
        """float64[3, 3] by which the template would have to move to meet what the picture shows."""
        h, w = soft.shape
        linear, (dx, dy) = now[:2, :2].astype(np.float32), (now[:2, 2] + self._middle).astype(np.float32)
        x = linear[0, 0] * points.x + linear[0, 1] * points.y + dx
        y = linear[1, 0] * points.x + linear[1, 1] * points.y + dy
        got = cv2.remap(soft, x[None], y[None], cv2.INTER_LINEAR).ravel()
        inside = (x > 0) & (y > 0) & (x < w - 1) & (y < h - 1)
        want, slopes, products = points.want, points.slopes, points.products
        if not inside.all():
            if inside.sum() < LEAST:
                return None
            got, want, slopes = got[inside], want[inside], slopes[:, inside]
            products = slopes.astype(np.float64) @ slopes.T
        spread = float(got.std())
        if spread < 1e-3:
            return None
        differs = (got - got.mean()) * (want.std() / spread) - (want - want.mean())
        bound = 3.0 * float(np.median(np.abs(differs))) + 1.0
        differs = np.clip(differs, -bound, bound)
        try:
            by = np.linalg.solve(products, slopes @ differs)
        except np.linalg.LinAlgError:
            return None
        turn = by[2] if self._turns else 0.0
        scale = 1 + (by[-1] if self._scales else 0.0)
        c, s = scale * np.cos(turn), scale * np.sin(turn)
        return np.array([[c, -s, by[0]], [s, c, by[1]], [0, 0, 1]])
