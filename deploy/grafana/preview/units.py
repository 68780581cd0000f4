"""Figures as Grafana writes them, by the names of its units. Pure."""

SECONDS = ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))
RATES = {"reqps": "req/s", "rowsps": "rows/s", "ops": "ops/s"}


def written(value: float, unit: str) -> str:
    """A value with its unit."""
    if value != value:
        return ""
    match unit:
        case "s":
            return seconds(value)
        case "percentunit":
            return f"{short(100 * value)} %"
        case "percent":
            return f"{short(value)} %"
        case "bytes":
            return scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
        case "short":
            return scaled(value, 1000, ("", "K", "M", "G", "T"))
    return f"{short(value)} {RATES.get(unit, unit)}"


def seconds(value: float) -> str:
    """In the unit in which it is at least 1."""
    if value == 0:
        return "0 s"
    size, name = next(
        (one for one in reversed(SECONDS) if abs(value) >= 0.9999 * one[0]), SECONDS[0]
    )
    return f"{short(value / size)} {name}"


def scaled(value: float, base: int, names: tuple[str, ...]) -> str:
    """In the largest unit in which it is at least 1."""
    at = 0
    while abs(value) >= base and at < len(names) - 1:
        value, at = value / base, at + 1
    return f"{short(value)} {names[at]}".strip()


def short(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
