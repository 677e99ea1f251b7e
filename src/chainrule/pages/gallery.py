"""All examples of a table, sorted by loss, served on this machine alone: each is explained when it is asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np

from chainrule.boundary import html
from chainrule.boundary.checks import check_integer
from chainrule.errors import InputError, OutputFileError
from chainrule.explain import Explanation, explain
from chainrule.explain.raw import grey, span
from chainrule.explain.views.page import page
from chainrule.scores import example_scores
from chainrule.tables.schema import Schema

__all__ = ["Gallery", "server"]

A_PAGE = 24  # examples
WHICH = ("all", "wrong", "right")


class Gallery:
    """The pages of a model's examples.

    Parameters
    ----------
    net : the network
    x, labels : array (N, D), array (N,)
    feature_names, classes : D and K names
    image : (rows, columns) where the inputs are an image's pixels; by default where they are 64 or 784
    rows : the numbers that the pages call the examples by; 0, 1, … by default
    schema : what training learned of the table that the examples are from; the pages then show its own units

    Examples
    --------
    >>> from chainrule import Network
    >>> gallery = Gallery(Network.create([2, 3, 2], seed=0), np.eye(2), np.array([0, 1]), ["a", "b"], ["no", "yes"])
    >>> "row 1" in gallery.listing({"which": "all"})
    True
    """

    def __init__(
        self, net: Any, x: Any, labels: Any, feature_names: list[str], classes: list[Any],
        image: tuple[int, int] | None = None, rows: Any = None, schema: Schema | None = None,
    ) -> None:  # fmt: skip
        self._rows = list(range(len(labels))) if rows is None else [int(row) for row in rows]
        self._places = {row: n for n, row in enumerate(self._rows)}
        self._net, self._x, self._labels = net, x, labels
        self._features, self._classes, self._image = feature_names, [str(c) for c in classes], image
        self._losses, self._predicted, self._probabilities = example_scores(net, x, labels, rows)
        self._schema, self._span = schema, span(schema, x)
        self._order = np.argsort(-self._losses, kind="stable")
        self._ranks = np.argsort(self._order, kind="stable")
        if len(labels):
            self.worst()  # what cannot be explained is refused before anything is served

    def listing(self, query: dict[str, str]) -> str:
        """The page of examples; query may hold class, which (all, wrong or right), and page, counted from 1.

        Raises
        ------
        InputError
            `query` holds a class, a choice or a page that does not exist.
        """
        label, which = query.get("class", ""), query.get("which", "all")
        if label and not (label.isdecimal() and int(label) < len(self._classes)):
            raise InputError(f"class: got {label!r:.40}, expected a number from 0 to {len(self._classes) - 1}")
        if which not in WHICH:
            raise InputError(f"which: got {which!r:.40}, expected {', '.join(WHICH)}")
        right = self._predicted == self._labels
        kept = np.ones(len(right), dtype=bool) if which == "all" else right if which == "right" else ~right
        if label:
            kept = kept & (self._labels == int(label))
        order = self._order[kept[self._order]]
        pages = max(1, -(-len(order) // A_PAGE))
        number = query.get("page", "1")
        if not (number.isdecimal() and 1 <= int(number) <= pages):
            raise InputError(f"page: got {number!r:.40}, expected a number from 1 to {pages}")
        at = int(number)
        other = {"class": label, "which": which}
        return html.render(
            "gallery.html.j2",
            examples=[self._card(int(n)) for n in order[(at - 1) * A_PAGE : at * A_PAGE]],
            classes=self._classes, label=int(label) if label else None, which=which, page=at, pages=pages,
            found=len(order), total=len(right), earlier="/?" + urlencode(other | {"page": at - 1}) if at > 1 else None,
            later="/?" + urlencode(other | {"page": at + 1}) if at < pages else None,
        )  # fmt: skip

    def explanation(self, row: int) -> str:
        """The page of one example's chain to a weight of layer 1, with links to the rows beside it by their loss.

        Raises
        ------
        InputError
            There is no such row.
        """
        at = self._places.get(check_integer("row", row, minimum=0))
        if at is None:
            raise InputError(f"row: got {row}, expected 0 to {max(self._rows, default=-1)}, one that has a class")
        e = self._explained(at)
        rank = int(self._ranks[at])
        beside = {"earlier": rank - 1, "later": rank + 1}
        links = {name: f"/row/{self._rows[self._order[n]]}" for name, n in beside.items() if 0 <= n < len(self._order)}
        return page(e, e.weight(*e.opening_weight()), {"list": "/", **links})

    def worst(self) -> Explanation:
        """The explanation of the example with the largest loss."""
        return self._explained(int(self._order[0]))

    def _explained(self, at: int) -> Explanation:
        return explain(
            self._net, self._x[at], int(self._labels[at]), feature_names=self._features, classes=self._classes,
            image=self._image, schema=self._schema, row=self._rows[at],
        )  # fmt: skip

    def _card(self, n: int) -> dict[str, Any]:
        return {
            "row": self._rows[n], "true": self._classes[self._labels[n]],
            "predicted": self._classes[self._predicted[n]],
            "right": bool(self._labels[n] == self._predicted[n]), "loss": float(self._losses[n]),
            "probability": float(np.exp(-self._losses[n])), "predicted_probability": float(self._probabilities[n]),
            "image": grey(self._x[n], self._schema, self._image, self._span),
        }  # fmt: skip


def server(gallery: Gallery, port: int = 8000) -> ThreadingHTTPServer:
    """A server of the gallery at 127.0.0.1, for programs of this machine alone; port 0 takes one that is free.

    Raises
    ------
    OutputFileError
        The port is taken, or not allowed.
    """
    try:
        made = _Server(("127.0.0.1", port), _handler(gallery))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputFileError(f"--port: {port} cannot be served at: {reason}") from error
    return made


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves before the page is made is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(gallery: Gallery) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "Chainrule", ""

        def do_GET(self) -> None:
            port = self.server.server_port  # type: ignore[attr-defined]
            own = {
                name + end for name in ("127.0.0.1", "localhost") for end in (f":{port}", *([""] if port == 80 else []))
            }
            if self.headers.get("Host") not in own:  # another site's name that leads here must not read the table
                return self._answer(403, "This gallery answers to its own address alone.")
            address = urlsplit(self.path)
            row = re.fullmatch(r"/row/(\d{1,18})", address.path)
            try:
                if address.path == "/":
                    found = parse_qs(address.query, max_num_fields=10)
                    self._page(lambda: gallery.listing({name: values[-1] for name, values in found.items()}))
                elif row:
                    self._page(lambda: gallery.explanation(int(row[1])))
                elif address.path == "/favicon.ico":  # browsers ask by themselves
                    self.send_response(204)
                    self.end_headers()
                else:
                    self._answer(404, "There is no such page: the gallery is at /, a row's explanation at /row/N.")
            except ValueError as error:  # a query that cannot be read; InputError is one
                self._answer(404 if row else 400, str(error))
            return None

        do_HEAD = do_GET

        def _page(self, made: Callable[[], str]) -> None:
            self._send(200, "text/html; charset=utf-8", made())

        def _answer(self, code: int, text: str) -> None:
            self._send(code, "text/plain; charset=utf-8", text + "\n")

        def _send(self, code: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass  # the terminal has the address, and nothing else

    return Handler
