"""HTML pages: one self-contained file each, from templates that escape every value they are given."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.boundary.extras import require
from chainrule.version import __version__

__all__ = ["full", "image", "line_chart", "number", "part", "render"]

SHADES = 12
TEMPLATES = Path(__file__).parents[1] / "pages" / "templates"


def render(template: str, **values: Any) -> str:
    """A page from a template of `templates/`, with every value escaped."""
    jinja2 = require("jinja2", "cli")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "full": full}
    return str(environment.get_template(template).render(version=__version__, **values))


def part(name: str) -> str:
    """A file of `templates/` as it stands: a style, a script that is built from web/, or data."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def number(value: float, digits: int = 5) -> str:
    """A number in a few digits, with a real minus sign; ∞ where it is infinite, NaN where it is none.

    Examples
    --------
    >>> number(-0.000012345678), number(-math.inf), number(math.nan)
    ('−1.2346e−05', '−∞', 'NaN')
    """
    return _words(f"{value + 0.0:.{digits}g}")  # + 0.0: no −0


def full(value: float) -> str:
    """A number to its last digit, for whoever hovers."""
    return _words(str(value))


def _words(text: str) -> str:
    return text.replace("-", "−").replace("inf", "∞").replace("nan", "NaN")


def image(values: Sequence[float], shape: tuple[int, int] | None = None) -> dict[str, Any] | None:
    """An image of so many rows and columns as a few paths: one for each sign and each of `SHADES` sizes.

    Without a shape: square where there are 64 or 784 values, None for other numbers.

    Examples
    --------
    >>> image([1.0, 1.0, 0.0, -1.0], (2, 2))["paths"]
    [{'negative': False, 'opacity': 1.0, 'd': 'M0 0h2v1h-2z'}, {'negative': True, 'opacity': 1.0, 'd': 'M1 1h1v1h-1z'}]
    """
    if shape is None:
        if len(values) not in (64, 784):
            return None
        shape = (math.isqrt(len(values)),) * 2
    rows, columns = shape
    largest = max(abs(v) for v in values) or 1.0
    levels = [round(SHADES * v / largest) for v in values]
    paths: dict[int, list[str]] = {}
    for y in range(rows):
        x = 0
        for level, run in itertools.groupby(levels[y * columns : (y + 1) * columns]):
            width = len(list(run))
            if level:
                paths.setdefault(level, []).append(f"M{x} {y}h{width}v1h-{width}z")
            x += width
    drawn = [
        {"negative": level < 0, "opacity": round(abs(level) / SHADES, 3), "d": "".join(runs)}
        for level, runs in paths.items()
    ]
    return {"rows": rows, "columns": columns, "paths": drawn}


def line_chart(series: Mapping[str, Sequence[float]], *, logarithmic: bool = False) -> dict[str, Any]:
    """Polylines and axis marks for a chart of 560 × 240, for the template to draw; x counts epochs from 1.

    `read` is JSON for the page's script: the name of each line, and for each of its points epoch, x, y and the value.
    """
    width, height = 560.0, 240.0
    shown = [v for values in series.values() for v in values if math.isfinite(v) and (v > 0 or not logarithmic)]
    scale = math.log10 if logarithmic else float
    low, high = (scale(min(shown)), scale(max(shown))) if shown else (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    count = max((len(values) for values in series.values()), default=1)

    def place(epoch: int, value: float) -> tuple[float, float]:
        x = width * (epoch / (count - 1) if count > 1 else 0.5)
        return x, height * (1 - (scale(value) - low) / (high - low))

    lines, read = [], []
    for name, values in series.items():
        good = [(e, v) for e, v in enumerate(values) if math.isfinite(v) and (v > 0 or not logarithmic)]
        points = [place(e, v) for e, v in good]
        values_read = [[e + 1, round(x, 1), round(y, 1), v] for (e, v), (x, y) in zip(good, points, strict=True)]
        read.append({"name": name, "points": values_read})
        if len(points) == 1:  # a polyline of one point draws nothing
            (x, y), half = points[0], width / 2 if count == 1 else 4
            points = [(x - half, y), (x + half, y)]
        lines.append({"name": name, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points)})
    marks = []
    for i in range(5):
        level = low + (high - low) * i / 4
        marks.append({"y": height * (1 - i / 4), "text": number(10**level if logarithmic else level, 3)})
    return {"lines": lines, "marks": marks, "epochs": count, "read": json.dumps(read, ensure_ascii=False)}
