"""Every derivation's page in Chromium, at the width of a desk and of a hand, and before the validator of HTML."""

import struct

import pytest
from derivation_list import DERIVATIONS, shown

from chainrule.derive.writing import pages, unicode

SIZES = {"desk": (1280, 800), "hand": (390, 844)}


def opened(browser, page, size="desk", **options):
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab = context.new_page()
    tab.set_content(page)
    return tab


OVERFLOWS = """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('math, .unseen')).filter(e => {
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    const sideways = style.overflowX === 'visible' && e.scrollWidth > e.clientWidth + 1 && style.display !== 'inline';
    return sideways || box.right > innerWidth + 1 || box.left < -1;
}).map(e => e.outerHTML.slice(0, 200))"""
FORMULAS = """() => [...document.querySelectorAll('.formula')].map(box => {
    const outer = box.getBoundingClientRect(), inner = box.querySelector('math').getBoundingClientRect();
    const drawn = [...box.querySelectorAll('math, math *')].map(e => e.getBoundingClientRect());
    return {scrolls: box.scrollWidth > box.clientWidth, tall: box.scrollHeight - box.clientHeight,
            above: outer.top - Math.min(...drawn.map(b => b.top)), left: outer.left - inner.left,
            below: Math.max(...drawn.map(b => b.bottom)) - outer.bottom,
            drawn: inner.width * inner.height, lost: inner.width - box.scrollWidth};
})"""


@pytest.mark.parametrize("numbers", [False, True], ids=["plain", "numbers"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*DERIVATIONS, None], ids=str)
def test_nothing_overflows_in_chromium(browser, name, size, numbers, tmp_path):
    page = pages.html(shown(name, numbers=numbers))
    tab = opened(browser, page, size)
    picture = tab.screenshot(full_page=True)
    (tmp_path / f"{name}-{size}.png").write_bytes(picture)
    assert struct.unpack(">I", picture[16:20])[0] == SIZES[size][0]  # its width, which is more where the page scrolls
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert tab.evaluate(OVERFLOWS) == []
    formulas = tab.evaluate(FORMULAS)
    assert len(formulas) == page.count("<math")
    for formula in formulas:
        assert formula["drawn"] > 50
        assert max(formula["above"], formula["below"], formula["left"], formula["lost"]) <= 1
        assert formula["tall"] <= 1  # whole pixels of heights that are none
        assert size == "hand" or not formula["scrolls"]
    tab.context.close()


def test_what_a_screen_reader_hears(browser):
    (derivation,) = shown("gradient_wrt_logits")
    tab = opened(browser, pages.html([derivation]))
    nodes = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node]
    heard = [name for role, name in named if role == "group" and name]
    lines = [unicode.equation(line.left, line.right) for line in derivation.lines]
    assert heard == [f"Line {n}: {line}" for n, line in enumerate(lines, start=1)]
    # The formulas themselves are there too, for readers that know MathML.
    assert sum(node["role"]["value"] == "MathMLMath" for node in nodes) == len(lines)
    tab.context.close()


def test_proofs_unfold_without_a_script(browser):
    tab = opened(browser, pages.html(shown("loss")), java_script_enabled=False)
    proof = tab.locator("details p").first
    assert not proof.is_visible()
    tab.locator("summary").first.click()
    assert proof.is_visible()
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page(browser, scheme):
    """Contrast by the formula of WCAG: 4.5 to 1 is what text needs."""
    tab = opened(browser, pages.html(shown("loss", numbers=True)), color_scheme=scheme)
    colours = tab.evaluate(
        "() => ['.intro', '.rule', '.count', '.note, summary', '.value', 'math', 'footer'].map(s => "
        "getComputedStyle(document.querySelector(s)).color)"
    )
    paper = tab.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")

    def luminance(colour):
        parts = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in colours:
        lighter, darker = sorted([luminance(colour), luminance(paper)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
    tab.context.close()


def test_every_page_is_valid_html(faults, tmp_path):
    for name in [*DERIVATIONS, None]:
        (tmp_path / f"{name}.html").write_text(pages.html(shown(name)), encoding="utf-8")
        (tmp_path / f"{name}-numbers.html").write_text(pages.html(shown(name, numbers=True)), encoding="utf-8")
    fragment = pages.notebook_html(shown("gradient_wrt_logits")[0])
    style, _, body = fragment.partition("</style>")
    head = f'<!doctype html><html lang="en"><head><title>a notebook</title>{style}</style></head>'
    (tmp_path / "notebook.html").write_text(f"{head}<body>{body}</body></html>", encoding="utf-8")
    assert faults(sorted(tmp_path.glob("*.html"))) == []
