"""Derivations as pages: in notebooks, before a validator, and in a browser."""

import html.parser
import xml.etree.ElementTree as ET

import pytest
from derivation_list import DERIVATIONS
from lecture_lines import (
    NASTY,
    derivation,
    hostile,
)

from chainrule.derive import Derivation, derive
from chainrule.derive.writing import kept, pages, unicode

SEEN_NASTY = NASTY.replace("_", "")  # its subscripts are set as such


class Balanced(html.parser.HTMLParser):
    """Every tag closed in its turn, every id once."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.tags, self.links, self.words = [], [], [], [], ""
        self.feed(page)
        self.close()
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        assert len(named) == len(attributes)
        assert not any(key.startswith("on") for key in named)
        assert tag != "p" or not {"p", "summary"} & set(self.open)
        self.tags.append((tag, named))
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if "href" in named else []
        self.open += [tag] if tag not in self.VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def count(self, tag):
        return sum(t == tag for t, _ in self.tags)


def test_the_page():
    page = pages.html([derivation(), derivation(), hostile()])
    seen = Balanced(page)
    assert page.startswith("<!doctype html>\n")
    assert seen.count("script") == 0
    assert seen.count("math") == seen.count("details") == 21
    assert seen.count("h1") == 1
    assert len(seen.links) == 3
    assert SEEN_NASTY in seen.words
    boxes = [attributes for _, attributes in seen.tags if attributes.get("class") == "formula"]
    assert all((box["tabindex"], box["role"]) == ("0", "group") for box in boxes)  # it scrolls: it can be reached
    words = [unicode.equation(line.left, line.right) for line in derivation().lines]
    assert [box["aria-label"] for box in boxes[:10]] == [f"Line {n}: {word}" for n, word in enumerate(words, start=1)]
    assert [attributes["alttext"] for tag, attributes in seen.tags if tag == "math"][:10] == words
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_of_one():
    one = Balanced(pages.html([derivation()]))
    assert "−0.2424" in one.words
    assert one.count("nav") == one.count("h2") == 0
    assert Balanced(pages.html([])).count("math") == 0


def test_notebooks():
    fragment = Balanced(pages.notebook_html(derivation()))
    assert fragment.count("math") == 10
    assert fragment.count("html") == 0
    assert not fragment.ids
    assert SEEN_NASTY in Balanced(pages.notebook_html(hostile())).words
    source = Derivation._repr_latex_(derivation())
    assert source.startswith(r"$$\begin{aligned} \frac{\partial \left( -\log \hat{y}_\ell \right)}")
    assert source.count("&=") == 10
    assert source.endswith(r"\end{aligned}$$")


@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_derivation_in_a_notebook(name):
    derivation = derive(name)
    fragment = Balanced(derivation._repr_html_())
    assert fragment.count("math") == len(derivation.lines)
    assert fragment.count("script") == 0
    body = derivation._repr_html_().partition("</style>")[2]
    alts = [math.attrib["alttext"] for math in ET.fromstring(body).iter("math")]  # well-formed XML too
    assert alts == [unicode.equation(line.left, line.right) for line in derivation.lines]
    source = derivation._repr_latex_()
    assert source.startswith(r"$$\begin{aligned}")
    assert source.count("&=") == len(derivation.lines)


def test_what_the_explanation_page_keeps_is_what_is_derived():
    assert kept.FILE.read_text(encoding="utf-8") == kept.kept(), "python -m chainrule.derive.writing.kept writes it"
