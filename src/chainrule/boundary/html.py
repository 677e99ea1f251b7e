"""HTML pages: one self-contained file each, from templates that escape every value they are given."""

from __future__ import annotations

import base64
import itertools
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.boundary.extras import require
from chainrule.version import __version__

__all__ = ["full", "image", "line_chart", "number", "part", "render", "script"]

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


UNPACK = """(async () => {
  const packed = Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0));
  const script = document.createElement("script");
  script.text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  document.body.append(script);
})().catch(() => document.getElementById("app").insertAdjacentHTML("afterbegin", "<p class='finding' id='static'>This \
browser cannot run the page's script, so that nothing can be changed here; all else reads in full.</p>"));
"""


def script(name: str) -> str:
    """A script of `templates/` to stand in a page: its notice as it is, and all of it deflated, which makes it half as
    large; the weights beside it are packed in the same way."""
    text = part(name)
    notice = text.partition("\n")[0]
    return f"{notice}\n{UNPACK % base64.b64encode(zlib.compress(text.encode(), 9)).decode('ascii')}"


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


def image(values: Sequence[float], shape: tuple[int, int], *, largest: float | None = None) -> dict[str, Any]:
    """An image of so many rows and columns as a few paths: one for each sign and each of `SHADES` sizes.

    largest : the size that is drawn in full, of an image in grey; by default the largest that is there, of signed ones

    Examples
    --------
    >>> image([1.0, 1.0, 0.0, -1.0], (2, 2))["paths"]
    [{'negative': False, 'opacity': 1.0, 'd': 'M0 0h2v1h-2z'}, {'negative': True, 'opacity': 1.0, 'd': 'M1 1h1v1h-1z'}]
    """
    rows, columns = shape
    full = largest or max(abs(v) for v in values) or 1.0
    levels = [round(SHADES * v / full) for v in values]
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
    return {"rows": rows, "columns": columns, "paths": drawn, "grey": largest is not None}


def line_chart(
    series: Mapping[str, Sequence[float]], *, logarithmic: bool = False, best: int | None = None
) -> dict[str, Any]:
    """Polylines and axis marks for a chart of 560 × 240, for the template to draw; x counts epochs from 1.

    On a logarithmic axis a value of 0 stands on a line of its own below the others. best : an epoch to mark.
    `read` is JSON for the page's script: the name of each line, and for each of its points epoch, x, y and the value.
    """
    width, height = 560.0, 240.0

    def fits(v: float) -> bool:
        return math.isfinite(v) and (v > 0 or not logarithmic)

    shown = [v for values in series.values() for v in values if fits(v)]
    zeros = logarithmic and any(v == 0 for values in series.values() for v in values)
    scale = math.log10 if logarithmic else float
    low, high = (scale(min(shown)), scale(max(shown))) if shown else (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    count = max((len(values) for values in series.values()), default=1)
    floor = height - 24 if zeros else height

    def across(epoch: int) -> float:
        return width * (epoch / (count - 1) if count > 1 else 0.5)

    def up(value: float) -> float:
        return height if value == 0 and zeros else floor * (1 - (scale(value) - low) / (high - low))

    lines, read = [], []
    for name, values in series.items():
        good = [(e, v) for e, v in enumerate(values) if fits(v) or (v == 0 and zeros)]
        points = [(across(e), up(v)) for e, v in good]
        values_read = [[e + 1, round(x, 1), round(y, 1), v] for (e, v), (x, y) in zip(good, points, strict=True)]
        read.append({"name": name, "points": values_read})
        if len(points) == 1:  # a polyline of one point draws nothing
            (x, y), half = points[0], width / 2 if count == 1 else 4
            points = [(x - half, y), (x + half, y)]
        lines.append({"name": name, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points)})
    marks = [{"y": round(up(tick), 1), "text": number(tick, 3)} for tick in ticks(low, high, logarithmic=logarithmic)]
    if zeros:
        marks.append({"y": height, "text": "0"})
    marked = None if best is None or not 1 <= best <= count else {"epoch": best, "x": round(across(best - 1), 1)}
    read_text = json.dumps(read, ensure_ascii=False)
    return {"lines": lines, "marks": marks, "epochs": count, "best": marked, "read": read_text}


def ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Round numbers for an axis from low to high; of a logarithmic one these are exponents of ten.

    Examples
    --------
    >>> ticks(0.13, 0.97, logarithmic=False), ticks(-3.4, 0.2, logarithmic=True), ticks(-0.3, 0.6, logarithmic=True)
    ([0.2, 0.4, 0.6, 0.8], [0.001, 0.01, 0.1, 1.0], [1.0, 2.0])
    """
    if not logarithmic:
        return _multiples(low, high)
    for digits in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        powers = range(math.floor(low), math.ceil(high) + 1)
        every = -(-len(powers) // 7)
        found = [d * 10.0**p for p in powers if p % every == 0 for d in digits]
        found = [t for t in found if low - 1e-9 <= math.log10(t) <= high + 1e-9]
        if len(found) >= (3 if len(digits) < 3 else 2):
            return found
    return _multiples(10**low, 10**high)


def _multiples(low: float, high: float) -> list[float]:
    """The multiples within of the least of 1, 2, 5, 10, … that are at most five."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(m * power for m in (1, 2, 5, 10) if (high - low) / (m * power) <= 5)
    return [float(f"{n * step:.12g}") for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
