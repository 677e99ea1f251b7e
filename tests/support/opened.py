"""An explanation's page in a tab, for the tests in Chromium."""

import math


class Opened:
    """A page in a tab that may ask for nothing, and all that it said."""

    def __init__(self, browser, path, size=(1440, 900), **options):
        self.said, self.asked, self.path = [], [], path
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            self.tab.wait_for_selector("#app[data-live]")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()
        if error[0] is None:
            assert self.said == []
            assert self.asked == [self.path.as_uri()]

    def value(self, selector):
        return float(self.tab.locator(selector).get_attribute("data-value"))

    def choose(self, layer, unit, source):
        """A weight by its numbers, or a unit where source is None."""
        self.tab.select_option(".chooser select", str(layer))
        self.tab.fill(".chooser input[name=unit]", str(unit))
        self.tab.fill(".chooser input[name=input]", "" if source is None else str(source))
        self.tab.click(".chooser button[type=submit]")


def close(got, want, relative=1e-12):
    return math.isclose(got, want, rel_tol=relative, abs_tol=1e-300)
