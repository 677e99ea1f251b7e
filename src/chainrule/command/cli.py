"""The command line: parses, calls, prints. Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from chainrule.boundary.files import write_out
from chainrule.command.arguments import parser
from chainrule.command.values import WORST
from chainrule.errors import ChainruleError, InputError

__all__ = ["main"]

INTERRUPTED = 130  # as shells say of a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Examples
    --------
    >>> main(["predict", "no-model.safetensors", "no-table.csv"])
    1
    """
    options = None
    try:
        options = parser(COMMANDS).parse_args(argv)
        code = int(options.run(options))
        write_out("")  # a full disk is told here, and not while Python ends
        return code
    except BrokenPipeError:
        raise
    except (ChainruleError, NotImplementedError, OSError, MemoryError) as error:
        if options is not None and options.debug:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        rank = os.environ.get("RANK", "0")  # of several processes, the first one tells what all have found
        if rank == "0" or not getattr(error, "told", False):
            print(f"chainrule: error: {'' if rank == '0' else f'rank {rank}: '}{message}", file=sys.stderr)
        return int(options.refused) if options is not None and isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("chainrule: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _note(line: str) -> None:
    print(f"chainrule: note: {line}", file=sys.stderr)


def _request(options: Any) -> Any:
    from chainrule.command.request import Request

    return Request(**{f.name: getattr(options, f.name) for f in fields(Request) if hasattr(options, f.name)})


def _reading(options: Any) -> Any:
    from chainrule.tables import Reading

    return Reading(options.separator, options.header, options.encoding, options.skip_broken)


def _show(lines: list[str]) -> None:
    write_out("\n".join(lines) + "\n\n")


def _train(options: Any) -> int:
    from chainrule.boundary.processes import launched
    from chainrule.command.training import EPOCHS, look, train
    from chainrule.training.progress import progress_bar

    request, processes = _request(options), launched()
    if processes is not None and processes.rank:  # the first one tells
        train(request, processes=processes)
        return 0
    if options.dry_run:
        write_out("\n".join(look(request, _note)) + "\n")
        return 0
    with progress_bar(options.epochs or EPOCHS) as progress:
        result = train(request, _note, progress, _show, processes)
    write_out("\n".join(result.lines()) + "\n")
    return INTERRUPTED if result.interrupted else 0


def _refuse_several(command: str) -> None:
    """Several processes would each do all of the work, and write over one another."""
    if os.environ.get("TORCHELASTIC_RUN_ID") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"{command}: got {os.environ['WORLD_SIZE']} processes, expected one; train alone takes several"
        )


def _audit(options: Any) -> int:
    from chainrule.command.audit import AuditRequest, audit

    _refuse_several("audit")
    request = AuditRequest(**{field.name: getattr(options, field.name) for field in fields(AuditRequest)})
    write_out("\n".join(audit(request, _note).lines()) + "\n")
    return 0


def _tune(options: Any) -> int:
    from chainrule.command.tuning import tune

    _refuse_several("tune")
    result, lines = tune(_request(options), options.trials, options.seeds, _note, _show)
    write_out("\n".join([*lines, "", *result.lines()]) + "\n")
    return INTERRUPTED if result.interrupted else 0


def _info(options: Any) -> int:
    import json

    from chainrule.command import jobs

    if options.json:
        write_out(json.dumps(jobs.info(options.model), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        write_out(jobs.info_text(options.model) + "\n")
    return 0


def _predict(options: Any) -> int:
    from chainrule.boundary.files import require_apart, require_writable, write_atomically
    from chainrule.command import jobs

    require_apart(model=options.model, table=options.table, output=options.output)
    form = jobs.form_of(options.output, options.form)
    if options.output is not None:
        require_writable(options.output)
    elif form in ("parquet", "arrow"):
        raise InputError(f"--format {form}: is no text for a terminal, expected a file to write (-o)")
    found = jobs.predict(
        options.model, options.table, _note, options.strict, how=_reading(options), ids=options.id,
        beside=options.with_input, form=form,
    )  # fmt: skip
    if options.output is None:
        write_out(found)
    else:
        write_out(f"predictions: {write_atomically(options.output, found)}\n")
    return 0


def _evaluate(options: Any) -> int:
    import json

    from chainrule.boundary.files import require_apart, require_writable, write_atomically
    from chainrule.command import jobs

    require_apart(model=options.model, table=options.table, output=options.output)
    if options.output is not None:
        require_writable(options.output)
    found = jobs.evaluate(
        options.model, options.table, _note, options.strict, how=_reading(options), bootstrap=options.bootstrap
    )
    data = json.dumps(found.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) if options.json else found.text()
    if options.output is None:
        write_out(data + "\n")
    else:
        write_out(f"evaluation: {write_atomically(options.output, data + chr(10))}\n")
    return 0


def _explain(options: Any) -> int:
    import json

    from chainrule.boundary.files import require_apart
    from chainrule.command import jobs
    from chainrule.explain.views.page_payload import travelling
    from chainrule.explain.views.terminal import print_chain

    if options.serve:
        return _serve(options)
    if options.port is not None:
        raise InputError("--port and --row: got both; --port goes with --serve")
    if options.unit is not None and options.weight is not None:
        raise InputError("--unit and --weight: got both, expected one")
    for name in ("rows", "checkpoints"):
        if (told := getattr(options, name)) and options.output is None:
            raise InputError(f"--{name}: got {told} without a page to put them into, expected -o too")
    require_apart(model=options.model, table=options.table, output=options.output)
    how = _reading(options)
    row = None if options.row == WORST else options.row
    explanation, why = jobs.explained(
        options.model, options.table, row, options.image, _note, how, options.rows, options.checkpoints
    )
    if options.unit is not None:
        chain = explanation.unit(*options.unit)
    else:
        chain = explanation.weight(*(options.weight or explanation.opening_weight()))
    if options.form == "json":
        data = chain.to_dict() | {"prediction": why.to_dict()}
        write_out(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    elif options.form == "latex":
        write_out(chain.to_latex())
    else:
        write_out(why.text() + "\n\n")
        print_chain(chain)
    if options.output is not None:
        page = f"page: {chain.to_html(options.output)}{travelling(explanation)}\n"
        sys.stderr.write(page) if options.form in ("json", "latex") else write_out(page)
    return 0


def _serve(options: Any) -> int:
    from chainrule.command import jobs
    from chainrule.pages.gallery import server

    for name, value in {
        "unit": options.unit,
        "weight": options.weight,
        "format": options.form,
        "output": options.output,
        "rows": options.rows or None,
        "checkpoints": options.checkpoints,
    }.items():
        if value is not None:
            raise InputError(f"--{name} and --serve: got both, expected one")
    port = 8000 if options.port is None else options.port
    with server(jobs.gallery(options.model, options.table, options.image, _note, _reading(options)), port) as serving:
        write_out(f"gallery: http://127.0.0.1:{serving.server_port}/ (Ctrl-C ends it)\n")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            write_out("\n")
    return 0


def _check(options: Any) -> int:
    from chainrule.command import jobs

    report = jobs.check(options.model, options.table, options.rows, _note, _reading(options))
    write_out(report.text() + "\n")
    return 0 if report.ok else 1


def _derive(options: Any) -> int:
    from chainrule.command import derive as command

    names = ("listing", "step", "check", "form", "output", "numbers", "logits", "label", "let", "goal", "points")
    return command.run(options.name, **{name: getattr(options, name) for name in names})


COMMANDS = {
    "train": _train, "tune": _tune, "audit": _audit, "info": _info, "predict": _predict,
    "evaluate": _evaluate, "explain": _explain, "check": _check, "derive": _derive,
}  # fmt: skip


def run() -> None:
    """The console script: a closed pipe (`chainrule predict … | head`) is no error."""
    try:
        code = main()
    except BrokenPipeError:
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    try:
        sys.stdout.flush()
    except OSError:  # told already; Python would try again while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
