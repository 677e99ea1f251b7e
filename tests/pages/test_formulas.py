"""Formulas in Chromium, in every page and notebook: a font for mathematics, and brackets that stretch."""

import numpy as np

from chainrule import Network
from chainrule.derive import derive
from chainrule.derive.writing.pages import html
from chainrule.explain import explain

FONTS = '"Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math'
# of every ( … ): by how much it falls short of what stands in it, and of what
SHORT = """() => [...document.querySelectorAll('math mrow')].filter(r => r.checkVisibility())
    .filter(r => r.firstElementChild.textContent === '(' && r.lastElementChild.textContent === ')').map(r => {
    const inner = [...r.children].slice(1, -1).map(e => e.getBoundingClientRect());
    const height = Math.max(...inner.map(b => b.bottom)) - Math.min(...inner.map(b => b.top));
    return [height - r.firstElementChild.getBoundingClientRect().height, height];
})"""
# one of them is there: the letters' widths are its own, whatever font stands behind it
INSTALLED = """fonts => fonts.split(', ').slice(0, -1).some(font => {
    const pen = document.createElement('canvas').getContext('2d'), text = 'Wwij∑∫√(';
    return ['monospace', 'serif', 'sans-serif'].every(behind => {
        pen.font = `40px ${behind}`;
        const without = pen.measureText(text).width;
        pen.font = `40px ${font}, ${behind}`;
        return pen.measureText(text).width !== without;
    });
})"""


def pages(folder):
    """(name, HTML), of everything that shows formulas."""
    net = Network.create([3, 4, 3], activation="tanh", seed=0, dtype="float64")
    one, other = (explain(net, np.array(x), 1) for x in ([1.0, -2.0, 0.5], [0.0, 1.0, 2.0]))
    chain = one.weight(1, 2, 3)
    derivation = derive("label_smoothing")
    yield "derivation", html([derivation])
    for name, fragment in (
        ("derivation", derivation), ("chain", chain), ("explanation", one), ("comparison", one.compare(other)),
    ):  # fmt: skip
        yield f"{name} in a notebook", f"<!doctype html><title>a notebook</title><body>{fragment._repr_html_()}"
    for name, shown in (("explanation", chain), ("comparison", one.compare(other))):
        yield name, shown.to_html(folder / f"{name}.html").read_text(encoding="utf-8")


def test_formulas_are_in_a_font_for_mathematics(browser, tmp_path):
    tab = browser.new_page()
    faults = []
    tab.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    for name, page in pages(tmp_path):
        tab.set_content(page)
        if name == "explanation":
            tab.get_by_role("tab", name="Tables and checks").click()
        families = tab.evaluate("[...document.querySelectorAll('math')].map(e => getComputedStyle(e).fontFamily)")
        assert set(families) == {FONTS}, name
        brackets = tab.evaluate(SHORT)
        tall = [height for _, height in brackets if height > 20]
        assert tall, name
        if tab.evaluate(INSTALLED, FONTS):  # else it is for the system's fonts to say
            assert max(short for short, _ in brackets) <= 1, name
        assert faults == [], name
    tab.close()


def test_a_font_that_is_there_is_found(browser):
    """What the test above asks before it looks at brackets."""
    tab = browser.new_page()
    tab.set_content("<!doctype html><title>none</title>")
    assert tab.evaluate(INSTALLED, '"No Such Font", math') is False
    tab.close()
