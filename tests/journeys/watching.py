"""A watch over a page that shows what strangers wrote: what ran, loaded, opened, left or was refused."""

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Frame, Page, Request, Route

from tests.hostile import assert_allowed

# Before any script of the page: what the policy refused, and dialogs that would stop everything.
_BEFORE = """
window.__refused = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.__refused.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""
# The elements below what shows a text, each as [name, {attribute: value}].
_ELEMENTS = """
(roots) => roots.flatMap((root) => [...root.querySelectorAll("*")]).map((element) => [
  element.localName, Object.fromEntries([...element.attributes].map(({ name, value }) => [name, value])),
])
"""
# What this site's own scripts add to a rendered text.
_OURS = {"tabindex", "data-ready"}
_OUR_BUTTONS = {"code__copy", "image-load"}


class Watch:
    """Collects from its making on what a page does beyond showing this site; ask by `assert_harmless`."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = urlsplit(site).netloc
        self.complaints: list[str] = []
        page.add_init_script(_BEFORE)
        page.on("console", lambda message: self._complain(message.type == "error", f"console: {message.text}"))
        page.on("pageerror", lambda error: self._complain(True, f"error: {error}"))
        page.on("request", self._see_request)
        page.on("framenavigated", self._see_navigation)
        page.on("download", lambda download: self._complain(True, f"download: {download.url[:200]}"))
        page.on("dialog", self._see_dialog)
        page.context.on("page", lambda opened: self._complain(opened != page, f"window: {opened.url[:200]}"))
        # Nothing leaves the machine even where a payload gets through.
        page.route(lambda url: urlsplit(url).netloc not in ("", self.site), self._refuse)

    def _complain(self, wrong: bool, what: str) -> None:
        if wrong:
            self.complaints.append(what)

    def _see_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        own = parts.netloc == self.site and "sign-out" not in parts.path
        self._complain(not own and parts.scheme != "data", f"request: {request.url[:200]}")

    def _see_navigation(self, frame: Frame) -> None:
        self._complain(frame != self.page.main_frame, f"frame: {frame.url[:200]}")
        self._complain(urlsplit(frame.url).netloc != self.site, f"navigation: {frame.url[:200]}")

    def _see_dialog(self, dialog: Any) -> None:
        self._complain(True, f"dialog: {dialog.message[:200]}")
        dialog.dismiss()

    @staticmethod
    def _refuse(route: Route) -> None:
        route.abort()


def assert_harmless(watch: Watch, texts: str = ".markdown, .plain, .code, .response__raw") -> None:
    """Assert that nothing on the page ran, loaded, opened or left; `texts` selects what shows strangers' words."""
    page = watch.page
    assert page.evaluate("window.__pwned") is None
    assert page.evaluate("window.__refused") == []
    assert watch.complaints == []
    for tag, attributes in page.locator(texts).evaluate_all(_ELEMENTS):
        if tag == "button" and attributes.get("class") in _OUR_BUTTONS:
            continue
        assert_allowed(tag, {name: value for name, value in attributes.items() if name not in _OURS})
