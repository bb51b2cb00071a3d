"""Take the README's screenshots of the page again: `python benchmarks/screenshots.py`.

It requires Chromium.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyvips
from page import Server, open_page  # in this folder
from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).parent.parent / "docs"
DONE = ".rt-result[data-state=done][data-turn='{}']"
SHOTS: dict[str, dict[str, Any]] = {
    "page": {"viewport": {"width": 1440, "height": 900}, "locale": "en-US"},
    "page-dark-zh": {
        "viewport": {"width": 1440, "height": 900},
        "locale": "zh-CN",
        "color_scheme": "dark",
    },
    "page-phone": {
        "viewport": {"width": 390, "height": 844},
        "locale": "en-US",
        "device_scale_factor": 2,
    },
}


def shoot(browser: Browser, address: str, options: dict[str, Any], target: Path) -> None:
    """Run twice, pin the first run, and take a screenshot."""
    page = browser.new_context(**options).new_page()
    page.goto(f"{address}/?preset=balanced")
    page.click("[data-example=astronaut]")
    page.wait_for_selector("#picture img")
    for number, detail in ((1, "320"), (2, "256")):
        page.click(f"#detail input[value='{detail}']")
        page.wait_for_timeout(400)
        page.click("#run")
        page.wait_for_selector(DONE.format(number), timeout=30_000)
        page.wait_for_selector(f".rt-viewer[data-turn='{number}']")
        if number == 1:
            page.click("[data-pin='1']")
            page.wait_for_selector("[data-pin='1'][aria-pressed=true]")
    is_phone = options["viewport"]["width"] < 500
    page.evaluate("() => window.scrollTo(0, 0)")
    page.wait_for_timeout(400)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name, full_page=is_phone)
        pyvips.Image.new_from_file(file.name)[:3].write_to_file(str(target), Q=88)


def shoot_sweep(browser: Browser, address: str, target: Path) -> None:
    """Sweep the astronaut, hover over a point, and take a screenshot."""
    page = browser.new_context(**SHOTS["page"]).new_page()
    page.goto(address)
    page.click("[data-example=astronaut]")
    page.wait_for_selector("#picture img")
    page.get_by_role("tab", name="Sweep").click()
    page.click("#sweep-run")
    page.wait_for_selector(".rt-study[data-state=done]", timeout=300_000)
    page.evaluate("() => window.scrollTo(0, 0)")
    page.locator(".rt-point").first.hover(force=True)
    page.wait_for_timeout(400)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name)
        pyvips.Image.new_from_file(file.name)[:3].write_to_file(str(target), Q=88)


def main() -> None:
    """Take all screenshots."""
    server = Server()
    with sync_playwright() as play:
        browser = open_page(play, server.address).context.browser
        assert browser is not None
        for name, options in SHOTS.items():
            shoot(browser, server.address, options, DOCS / f"{name}.jpg")
        shoot_sweep(browser, server.address, DOCS / "sweep.jpg")
    server.close()


if __name__ == "__main__":
    main()
