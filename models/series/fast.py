"""What a block of a fast signal says of a machine: its waveform, its bands, and the faults that a rolling bearing can have.

A block is float64[n] at an even rate; several of one length, float64[..., n], give one number each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

HARMONICS = 3
SLIP = 0.01  # a bearing's frequencies lie as far from what geometry says
FINER = 8  # how much closer the lines of an envelope's spectrum lie than those of its block


@dataclass(frozen=True)
class Bearing:
    """`balls`: rolling elements; `ratio`: their diameter over that of the circle of their centres; `angle` of contact, degrees."""

    balls: int
    ratio: float
    angle: float = 0.0

    def frequencies(self, turns: float) -> dict[str, float]:
        """Hz at `turns` a second of the inner ring, while the outer one stands, of damage on the outer ring, the inner ring, a
        rolling element (which meets both rings in each of its turns) and the cage (T. A. Harris, Rolling Bearing Analysis)."""
        part = self.ratio * np.cos(np.radians(self.angle))
        return {
            "outer": float(self.balls / 2 * turns * (1 - part)),
            "inner": float(self.balls / 2 * turns * (1 + part)),
            "ball": float(turns / self.ratio * (1 - part**2)),
            "cage": float(turns / 2 * (1 - part)),
        }


def waveform(x: np.ndarray) -> dict[str, np.ndarray]:
    """`rms` and `peak` of what is left without the mean, in the signal's unit, `crest` (peak over rms) and `kurtosis` (noise: 3).
    A still signal has neither of the last two: NaN."""
    x = x - x.mean(axis=-1, keepdims=True)
    rms, peak = np.sqrt((x * x).mean(axis=-1)), np.abs(x).max(axis=-1)
    moving = np.where(rms > 1e-12, rms, np.nan)
    return {"rms": rms, "peak": peak, "crest": peak / moving, "kurtosis": (x**4).mean(axis=-1) / moving**4}


def bands(x: np.ndarray, rate: float, edges: Mapping[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """The rms of each band [low, high) in Hz, in the signal's unit; `rate` in Hz. Over bands that touch squares add up to rms
    squared (Parseval), less what the Hann window takes and gives."""
    n = x.shape[-1]
    window = np.hanning(n)
    power = np.abs(np.fft.rfft((x - x.mean(axis=-1, keepdims=True)) * window)) ** 2 * 2 / (n * (window @ window))
    line = np.fft.rfftfreq(n, 1 / rate)
    return {
        name: np.sqrt(power[..., (line >= low) & (line < high)].sum(axis=-1)) for name, (low, high) in edges.items()
    }


def whitened(x: np.ndarray) -> np.ndarray:
    """float64[..., n] with all lines of its spectrum at one height: tones and resonances are taken out, what is struck again and
    again stays (cepstrum pre-whitening, N. Sawalhi and R. B. Randall, 2011)."""
    lines = np.fft.rfft(x - x.mean(axis=-1, keepdims=True))
    return np.asarray(np.fft.irfft(lines / np.maximum(np.abs(lines), 1e-12), x.shape[-1]))


def envelope(x: np.ndarray, rate: float, band: tuple[float, float]) -> np.ndarray:
    """The amplitude float64[..., n] of what lies in `band` Hz: the magnitude of the analytic signal (D. Gabor, 1946)."""
    line = np.fft.fftfreq(x.shape[-1], 1 / rate)
    kept = (line >= max(band[0], 1e-9)) & (line < band[1])
    return np.asarray(np.abs(np.fft.ifft(np.where(kept, 2 * np.fft.fft(x), 0))))


def prominence(amplitude: np.ndarray, rate: float, frequencies: Sequence[float]) -> np.ndarray:
    """dB float64[..., k] by which the lines of an envelope at each frequency and its harmonics stand above the median line of its
    spectrum up to their highest; the mean over harmonics. Damage that is met again and again gives 15 dB and more, noise about 5.
    NaN where a frequency is not in the spectrum, or below four lines of it."""
    n = amplitude.shape[-1]
    ripple = amplitude - amplitude.mean(axis=-1, keepdims=True)
    power = np.abs(np.fft.rfft(ripple * np.hanning(n), FINER * n)) ** 2
    line, apart = np.fft.rfftfreq(FINER * n, 1 / rate), rate / n
    out = np.full((*amplitude.shape[:-1], len(frequencies)), np.nan)
    seen = [f for f in frequencies if 4 * apart <= f * HARMONICS < rate / 2 and f >= 4 * apart]
    if not seen:
        return out
    upto = (line > 2 * apart) & (line < 1.2 * HARMONICS * max(seen))
    floor = np.maximum(np.median(power[..., upto], axis=-1), 1e-30)
    for i, f in enumerate(frequencies):
        if f in seen:
            heights = [power[..., np.abs(line - m * f) < apart * 0.7 + SLIP * m * f] for m in range(1, HARMONICS + 1)]
            out[..., i] = np.mean([10 * np.log10(np.maximum(h.max(axis=-1), 1e-30) / floor) for h in heights], axis=0)
    return out
