"""How a page is looked at: whole, in each colour scheme, for what is too wide and for what axe finds."""

from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def faults(page: Page) -> list[str]:
    """Return what is wrong with a page as it stands: that it is wider than its window, and what axe finds and where."""
    # A click is over with the first byte of the page it leads to, when that page may have no element yet.
    page.wait_for_load_state()
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    seen: Any = Axe().run(page)
    return [f"{wide} px too wide"] * (wide > 0) + [
        f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in seen.response["violations"]
    ]


def faults_in_both(page: Page) -> dict[str, list[str]]:
    """Return the faults of a page in each colour scheme that has any; the page is left in the dark one."""
    found: dict[str, list[str]] = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        if some := faults(page):
            found[scheme] = some
    return found
