"""An explanation's page in a tab, for the tests in Chromium."""

import math


class Opened:
    """A page in a tab that may ask for nothing, and all that it said."""

    def __init__(self, browser, path, size=(1440, 900), fragment="", **options):
        self.said, self.asked, self.path = [], [], path
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
        if options.get("java_script_enabled", True):
            self.tab.wait_for_selector("#app[data-live]")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()
        if error[0] is None:
            assert self.said == []
            assert {address.partition("#")[0] for address in self.asked} == {self.path.as_uri()}

    def value(self, selector):
        return float(self.tab.locator(selector).get_attribute("data-value"))

    def comes_to_show(self, selector, text):
        """Waits for a part with this text (or a match of a pattern); the part may be drawn anew meanwhile."""
        from playwright.sync_api import expect  # whoever has a tab has it

        expect(self.tab.locator(selector)).to_have_text(text, timeout=30_000)

    def choose(self, layer, unit, source):
        """A weight by its numbers; the unit where source is None, its bias where source is 0."""
        place = f"{layer},{unit},{source}" if source else f"{'b' if source == 0 else 'a'} {layer},{unit}"
        self.tab.fill("#goto", place)
        self.tab.press("#goto", "Enter")

    def tip(self, row, unit, of):
        """The numbers that a bar's tip shows when it is pointed at; `of` units are drawn."""
        bars = self.tab.locator(f'[data-row="{row}"] .bars')
        box = bars.bounding_box()
        bars.hover(position={"x": box["width"] * (unit - 0.5) / of, "y": box["height"] / 2})
        return self.numbers(f'[data-row="{row}"] .tip')

    def numbers(self, within):
        """All numbers that a part of the page shows, in full."""
        return self.tab.eval_on_selector_all(f"{within} [data-value]", "all => all.map(e => Number(e.dataset.value))")


def taken(page, title, form):
    """What is saved of a part, and the name that it is saved by."""
    page.tab.select_option("#figure", label=title)
    with page.tab.expect_download() as download:
        page.tab.get_by_role("button", name=form, exact=True).click()
    return download.value.path().read_bytes(), download.value.suggested_filename


def close(got, want, relative=1e-12):
    return math.isclose(got, want, rel_tol=relative, abs_tol=1e-300)
