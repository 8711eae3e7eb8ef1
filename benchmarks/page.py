"""Numbers with their units, and tables."""


def shown(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value < 99.95:
        return f"{value:.3g}"
    return f"{round(value, 3 - len(str(round(value)))):,.0f}"


def _in_units(value: float, units: tuple[tuple[str, float, float], ...]) -> str:
    """In the first (unit, its size, least value) that the value reaches, else in the last."""
    unit, size = next(((u, s) for u, s, least in units if value >= least), units[-1][:2])
    return f"{shown(value / size)} {unit}"


def sized(size: float) -> str:
    """Bytes."""
    units = (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return _in_units(size, tuple((unit, factor, factor) for unit, factor in units))


def lasting(seconds: float) -> str:
    """A time."""
    units = (("h", 3600, 7200), ("min", 60, 120), ("s", 1, 1), ("ms", 1e-3, 0))
    return _in_units(seconds, units)


def spread(values: dict[str, float]) -> str:
    """Median and quartiles."""
    return f"{values['median']:.2f} ({values['q1']:.2f} to {values['q3']:.2f})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
