"""What happens to sensors: changes to one window float32 [time, channels]. `deviation` [channels] is how much each channel varies in clean data."""

from collections.abc import Callable, Mapping

import numpy as np

Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def level(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every channel reads half a deviation more."""
    higher: np.ndarray = series + np.float32(0.5) * deviation
    return higher


def scale(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every channel reads 1.3 times as much."""
    stronger: np.ndarray = series * np.float32(1.3)
    return stronger


def trend(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Readings rise by a deviation from begin to end."""
    ramp = np.linspace(-0.5, 0.5, len(series), dtype=np.float32)[:, None]
    rising: np.ndarray = series + ramp * deviation
    return rising


def frequency(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Movements are 1.2 times as fast: the window holds what took a fifth longer, its end repeated backwards."""
    longer = np.concatenate([series, series[::-1]])
    return at(longer, np.arange(len(series)) * 1.2)


def missing(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two blocks of a tenth of the window each are lost and sent as zeros."""
    out = series.copy()
    size = max(1, len(series) // 10)
    for start in rng.integers(0, len(series) - size + 1, 2):
        out[start : start + size] = 0
    return out


def frozen(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sensor hangs: from a random place on, two fifths of the window repeat one reading."""
    out = series.copy()
    size = int(0.4 * len(series))
    start = int(rng.integers(1, len(series) - size + 1))
    out[start : start + size] = series[start - 1]
    return out


def phase(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The gyroscope lags behind the accelerometer by 12 samples, about a quarter of a second."""
    out = series.copy()
    half = series.shape[1] // 2
    out[:, half:] = np.roll(series[:, half:], 12, axis=0)
    out[:12, half:] = series[:1, half:]
    return out


def noise(series: np.ndarray, deviation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that remembers (AR(1), rho .8) with a quarter of a channel's deviation."""
    rho, drawn = 0.8, rng.standard_normal(series.shape)
    walk = np.empty_like(drawn)
    walk[0] = drawn[0]
    for step in range(1, len(drawn)):
        walk[step] = rho * walk[step - 1] + np.sqrt(1 - rho**2) * drawn[step]
    return series + (0.25 * deviation * walk).astype(np.float32)


def at(series: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Readings at times between samples, linearly."""
    before = times.astype(int)
    share = (times - before).astype(np.float32)[:, None]
    after = np.minimum(before + 1, len(series) - 1)
    values: np.ndarray = series[before] * (1 - share) + series[after] * share
    return values


CHANGES: Mapping[str, Change] = {
    "level": level,
    "scale": scale,
    "trend": trend,
    "frequency": frequency,
    "missing blocks": missing,
    "sensor freeze": frozen,
    "phase": phase,
    "AR noise": noise,
}
