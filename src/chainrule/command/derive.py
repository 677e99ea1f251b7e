"""What `chainrule derive` does: lists, shows, steps through and checks derivations, and checks somebody else's."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from chainrule.boundary.files import require_apart, require_writable, write_atomically, write_out
from chainrule.derive.derivation import Derivation, derivations, derive
from chainrule.derive.numbers import values, with_numbers
from chainrule.derive.people import report
from chainrule.derive.people.check import Checked, check_derivation
from chainrule.derive.people.documents import MAX_TEXT
from chainrule.derive.writing import documents, pages, tex, unicode
from chainrule.derive.writing.terminal import screen
from chainrule.errors import InputError

__all__ = ["FORMATS", "run"]

FORMATS = ("text", "json", "latex", "beamer", "html", "github", "gradescope")


def run(
    name: str | None = None,
    *,
    listing: bool = False,
    step: bool = False,
    check: str | None = None,
    form: str = "text",
    output: str | None = None,
    numbers: bool = False,
    logits: Sequence[float] | None = None,
    label: int | None = None,
    let: str | None = None,
    goal: str | None = None,
    points: float | None = None,
) -> int:
    """Do what the options of `chainrule derive` say; returns the exit code: 1 where a line fails its check.

    Parameters
    ----------
    name : a derivation; None for all of them
    check : the file of somebody else's derivation, a folder of them, or - for standard input; "" to check ours
    let : what letters of it stand for
    goal : an equation that it is to reach, or the name of a derivation whose result is
    points : of a file in which every step is right

    Raises
    ------
    InputError
        Options that do not go together, or a name or a file that cannot be used.

    Examples
    --------
    >>> run(listing=True, step=True)
    Traceback (most recent call last):
    chainrule.errors.InputError: --list and --step: got both, expected one
    """
    chosen = logits is not None or label is not None
    numbers = numbers or chosen
    _require_fit(name, listing, step, check, form, output, numbers=numbers, chosen=chosen)
    if check:
        if (let or goal) is None and points is None and check != "-":
            require_apart(check=check, output=output)
        return _checked(check, name, form, output, let=let or "", goal=goal, points=10.0 if points is None else points)
    if let is not None or goal is not None or points is not None:
        raise InputError("--let, --goal and --points: got one without --check FILE, expected a file to check")
    shown = [derive(one) for one in ([name] if name is not None else derivations())]
    if listing:
        _write([_listing(shown, form)], output)
    elif check is not None:
        failed: list[str] = []
        _write(_checks(shown, form, failed), output)
        return int(bool(failed))
    elif form == "json":
        data = [_data(one, values(one, logits=logits, label=label) if numbers else None) for one in shown]
        _write([_json(data if name is None else data[0])], output)
    else:
        if numbers:
            shown = [with_numbers(one, logits=logits, label=label) for one in shown]
        if step:
            _step(shown)
            return 0
        render = {"text": _text, "latex": documents.article, "beamer": documents.beamer, "html": pages.html}[form]
        _write([render(shown).rstrip("\n")], output)
    return 0


def _require_fit(
    name: str | None,
    listing: bool,
    step: bool,
    check: str | None,
    form: str,
    output: str | None,
    *,
    numbers: bool,
    chosen: bool,
) -> None:
    """Refuse options that do not go together, and a file that could not be written."""
    given = {"--list": listing, "--step": step, "--check": check is not None, "NAME": name is not None}
    given |= {"--numbers": numbers, "--output": output is not None}
    apart = [("--list", "--step"), ("--list", "--check"), ("--list", "--numbers"), ("--list", "NAME")]
    for one, other in [*apart, ("--step", "--check"), ("--step", "--output"), ("--check", "--numbers")]:
        if given[one] and given[other]:
            raise InputError(f"{one} and {other}: got both, expected one")
    if chosen and name is None:
        raise InputError("--logits and --label: got one without a NAME, expected the name of one derivation")
    mode = next((option for option in ("--list", "--step", "--check") if given[option]), None)
    possible = {None: FORMATS[:5], "--step": ("text",)}.get(mode, ("text", "json"))
    if check:
        possible = ("text", "json", "github", "gradescope")
    if form not in possible:
        raise InputError(f"--format: got {form} with {mode}, expected {' or '.join(possible)}")
    if output is not None:
        require_writable(output)


# --- Somebody else's --------------------------------------------------------------------------------------------------

_ENDINGS = (".tex", ".md", ".ipynb", ".txt", ".markdown", ".ltx", ".qmd")


def _read(path: str) -> bytes:
    """Somebody's file, as far as is needed to say that it is too long."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(4 * MAX_TEXT + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(4 * MAX_TEXT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        ours = f"; to check ours of that name: chainrule derive {path} --check" if path in derivations() else ""
        raise InputError(f"--check: got {path!r}, expected a file that can be read: {reason}{ours}") from None
    if len(content) > 4 * MAX_TEXT:
        raise InputError(f"--check: {path}: has more than {4 * MAX_TEXT} bytes, expected at most {MAX_TEXT} characters")
    return content


def _goals(goal: str | None) -> list[str]:
    """The equations of a goal: of a derivation's name, what each of its chains begins and ends with."""
    if goal is None or goal not in derivations():
        return [] if goal is None else [goal]
    found: list[tuple[str, str]] = []
    for line in derive(goal).lines:
        left = found[-1][0] if line.left is None else tex.latex(line.left)
        found[-1 if line.left is None else len(found) :] = [(left, tex.latex(line.right))]
    return [f"{left} = {right}" for left, right in found]


def _checked(
    check: str, name: str | None, form: str, output: str | None, *, let: str, goal: str | None, points: float
) -> int:
    """Judge a file, or each file of a folder, and write what is said of it."""
    goals = _goals(goal)
    if name is not None:
        derive(name)  # an unknown name is refused

    def judged(path: str) -> Checked:
        return check_derivation(
            _read(path), path, let=let, lecture=name is not None, goal=goals, lecture_goal=goal in derivations()
        )

    if not Path(check).is_dir():
        checked = judged(check)
        if not checked.steps:
            raise InputError(f"--check: {check}: nothing in it is an equation that could be checked")
        one = report.Marked(check, checked.steps, checked.goal if goal is not None else None)
        shown = {
            "text": lambda: report.plain(checked.steps, checked.reading),
            "json": lambda: _json(checked.steps),
            "github": lambda: report.github([one]),
            "gradescope": lambda: report.gradescope(one, points),
        }
        text = report.marks([one], points) if output is not None and output.endswith(".csv") else shown[form]()
        _write([text], output)
        return report.exit_code(checked.steps)
    found: list[report.Marked] = []
    for path in sorted(p for p in Path(check).rglob("*") if p.suffix in _ENDINGS and p.is_file()):
        shown_name = path.relative_to(check).as_posix() if form == "text" else path.as_posix()
        try:
            checked = judged(str(path))
            found.append(report.Marked(shown_name, checked.steps, checked.goal if goal is not None else None))
        except InputError as error:
            found.append(report.Marked(shown_name, [], None, str(error)))
    if not found:
        raise InputError(f"--check: {check}: has no file that ends with {', '.join(_ENDINGS)}")
    if form == "github":
        _write([report.github(found)], output)
    elif form == "json":
        _write([_json([{"file": one.file, "error": one.error, "steps": one.steps} for one in found])], output)
    elif form == "gradescope":
        raise InputError(
            "--format: got gradescope with a folder, expected one file: Gradescope marks one submission at a time"
        )
    else:
        _write([report.marks(found, points)], output)
    codes = [report.exit_code(one.steps) for one in found]
    return next((code for code in (1, 3, 2, 4) if code in codes), 0)


def _write(pieces: Iterable[str], output: str | None) -> None:
    """Print each piece as it comes, or write them all to a file."""
    if output is not None:
        write_out(f"written: {write_atomically(output, ''.join(piece + chr(10) for piece in pieces))}\n")
        return
    for piece in pieces:
        write_out(piece + "\n")


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, default=str)


def _width() -> int:
    return max(60, min(120, shutil.get_terminal_size((100, 24)).columns))


# --- Shown ------------------------------------------------------------------------------------------------------------


def _listing(shown: Sequence[Derivation], form: str) -> str:
    if form == "json":
        return _json([{"name": one.name, "title": one.title} for one in shown])
    widest = max(len(one.name) for one in shown)
    return "\n".join(f"{one.name.ljust(widest)}  {one.title}" for one in shown)


def _data(derivation: Derivation, numbers: Sequence[Any] | None) -> dict[str, Any]:
    lines = []
    for n, line in enumerate(derivation.lines, start=1):
        left = None if line.left is None else unicode.text(line.left)
        source = "" if line.left is None else tex.latex(line.left) + " "
        data = {"line": n, "left": left, "right": unicode.text(line.right)}
        data |= {"latex": f"{source}= {tex.latex(line.right)}", "rule": line.rule}
        data |= {"note": line.note, "proof": line.proof}
        lines.append(data if numbers is None else {**data, "value": numbers[n - 1]})
    return {"name": derivation.name, "title": derivation.title, "intro": derivation.intro, "lines": lines}


def _heading(derivation: Derivation) -> str:
    intro = "\n".join(textwrap.wrap(derivation.intro, _width())).replace("\N{NO-BREAK SPACE}", " ")
    return "\n".join([derivation.title, *intro.splitlines(), ""])


def _text(shown: Iterable[Derivation]) -> str:
    return "\n\n\n".join("\n".join([_heading(one), *screen(one, _width())]) for one in shown)


def _step(shown: Iterable[Derivation]) -> None:
    """A line at a time. Without somebody at a terminal there is nobody to wait for."""
    wait = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if wait:
        write_out("Enter: the next line. q and Enter: the end.\n\n")
    for n, derivation in enumerate(shown):
        write_out(("\n\n" if n else "") + _heading(derivation) + "\n")
        for m, piece in enumerate(screen(derivation, _width())):
            if wait and (n or m):
                try:
                    if input().strip().lower() == "q":
                        return
                except EOFError:
                    return
            write_out(piece + "\n")


# --- Checked ----------------------------------------------------------------------------------------------------------


def _checks(shown: Sequence[Derivation], form: str, failed: list[str]) -> Iterator[str]:
    """What was checked of each line; the texts of those that fail are added to `failed`."""
    count = 0
    data: list[dict[str, Any]] = []
    for derivation in shown:
        pieces = [f"{derivation.name}: {derivation.title}"]
        for n, result in enumerate(derivation.check(), start=1):
            text = unicode.equation(result.line.left, result.line.right)
            verdict = "follows" if result.follows else "does not follow"
            message = f"checked for {result.checked}" if result.follows else result.message
            count += 1
            failed += [] if result.follows else [text]
            pieces += [f"  {n}. {text}", f"     {verdict}: {message}"]
            data.append({"derivation": derivation.name, "line": n, "text": text, "verdict": verdict})
            data[-1] |= {"counterexample": result.result.counterexample, "message": message}
        if form == "text":
            yield "\n".join([*pieces, ""])
    if form == "json":
        yield _json(data)
    else:
        words = f"{len(failed)} of {count} lines do not follow." if failed else f"All {count} lines follow."
        yield f"{words} What was checked is strong evidence for every K, and not a proof."
