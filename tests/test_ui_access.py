"""Accessibility in Chromium: axe-core's rules, sizes of targets, and a plot's card.

One visitor fills every tab once. The tests check the page in each theme, width and language.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect
from test_ui_browser import (
    CHROMIUM,
    RUN_TIMEOUT_MS,
    Visitor,
    address,  # noqa: F401  # a fixture
    browser,  # noqa: F401  # a fixture
    small_subject,  # noqa: F401  # a fixture
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

TABS = ("cut", "compare", "sweep", "deploy", "models", "system")
WIDTHS = ((1440, 900), (390, 844))
MIN_TARGET_PX = 24
STUDY_TIMEOUT_MS = 120_000
# Every element that takes a click or a key, with its box; the label of an input takes clicks too.
SMALL = """(least) => [...document.querySelectorAll(
  'a[href], button, input, select, textarea, summary, [role=button], [role=tab], [role=option]'
)].filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.closest('[aria-hidden=true], .visually-hidden')).map((e) => {
  const boxes = [e, e.matches('input') && e.closest('label')].filter(Boolean).map((one) => one.getBoundingClientRect());
  return [e.outerHTML.slice(0, 90), Math.max(...boxes.map((b) => b.width)), Math.max(...boxes.map((b) => b.height))];
}).filter(([, width, height]) => width > 1 && height > 1 && (width < least || height < least))"""
FINDINGS = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter((v) => ['serious', 'critical'].includes(v.impact))
  .flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`))"""
# Gradio fades links and buttons for 0.2 s; a colour during the transition belongs to no theme.
SETTLED = "() => document.getAnimations().every((one) => !(one instanceof CSSTransition))"
# The distances by which the card of a point exceeds the plot's box: left, top, right, bottom.
OUTSIDE = """() => {
  const tip = document.querySelector('.rt-tip:not([hidden])')?.getBoundingClientRect();
  const box = document.querySelector('.rt-plane:has(.rt-trials-plot)').getBoundingClientRect();
  return tip && [box.left - tip.left, box.top - tip.top, tip.right - box.right, tip.bottom - box.bottom];
}"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt install chromium)"),
    pytest.mark.timeout(240),
]


def open_tab(page: Page, name: str) -> None:
    """Open a tab and wait for the data that it requests from the server."""
    page.locator("[role=tablist] [role=tab]").nth(TABS.index(name)).click()
    waited = {"models": ".rt-models li", "system": ".rt-machine", "deploy": "#deployed pre"}
    if name in waited:
        page.wait_for_selector(waited[name], timeout=RUN_TIMEOUT_MS)


def fill(visitor: Visitor, url: str, picture: Path) -> Page:
    """Run, pin, compare, sweep and export, and open everything that can be opened."""
    page = visitor.come(url)
    visitor.take(picture)
    visitor.run()
    assert page.is_visible(".rt-looks button")
    page.click("[data-pin='1']")
    page.click(".rt-asked summary")
    visitor.open_expert()
    open_tab(page, "compare")
    for name in ("smallest", "edge"):
        page.uncheck(f"#compared input[name={name}]")
    page.click("#compare-run")
    expect(page.locator("#compare-run")).to_be_disabled()
    expect(page.locator("#comparison [role=status]")).to_contain_text(
        re.compile("fastest"), timeout=RUN_TIMEOUT_MS
    )
    page.wait_for_selector(".rt-pair-stage", timeout=STUDY_TIMEOUT_MS)
    expect(page.locator("#compare-run")).to_be_enabled()
    page.click("#comparison summary")
    open_tab(page, "sweep")
    page.click("#sweep-more button")
    for axis, value in (
        ("engine", "onnxruntime"),
        ("precision", "bf16"),
        ("precision", "fp32"),
        ("network_size", "224"),
        ("intra_op_threads", "1"),
    ):
        box = page.locator(f"#axis-{axis}").get_by_label(value, exact=True)
        if box.count():
            box.uncheck()
    page.wait_for_function(
        "() => /2 trials|2 次/.test(document.querySelector('#sweep-note').innerText)"
    )
    page.click("#sweep-run")
    expect(page.locator("#sweep-run")).to_be_disabled()
    page.wait_for_selector(".rt-study[data-state=done]", timeout=STUDY_TIMEOUT_MS)
    expect(page.locator("#sweep-run")).to_be_enabled()
    open_tab(page, "deploy")
    return page


@pytest.fixture(scope="module")
def english(
    browser: Browser,  # noqa: F811
    address: str,  # noqa: F811
    small_subject: Path,  # noqa: F811
) -> Iterator[Page]:
    """Return a page with results on every tab."""
    with browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US") as context:
        yield fill(Visitor(context, address), f"{address}/?preset=fastest", small_subject)


def findings_of(page: Page, themes: tuple[str, ...] = ("light", "dark")) -> dict[str, list[str]]:
    """Run axe on every tab, and return the findings."""
    found: dict[str, list[str]] = {}
    for theme in themes:
        page.evaluate(
            f"() => document.body.classList.toggle('dark', {str(theme == 'dark').lower()})"
        )
        for name in TABS:
            open_tab(page, name)
            page.wait_for_function(SETTLED)
            page.evaluate(AXE_SCRIPT)
            found[f"{theme} {name}"] = page.evaluate(FINDINGS)
    return {where: told for where, told in found.items() if told}


def test_axe_finds_nothing_serious(english: Page) -> None:
    """Every tab is checked with its results, in the light and the dark theme."""
    assert findings_of(english) == {}


def test_axe_finds_nothing_serious_in_chinese(
    browser: Browser,  # noqa: F811
    address: str,  # noqa: F811
    small_subject: Path,  # noqa: F811
) -> None:
    """The Chinese page passes in the light theme; its colours are the same."""
    with browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN") as context:
        page = fill(Visitor(context, address), f"{address}/?lang=zh&preset=fastest", small_subject)
        assert findings_of(page, ("light",)) == {}


def test_the_report_passes_axe(english: Page, tmp_path: Path) -> None:
    """The report file of a sweep passes after its download."""
    open_tab(english, "sweep")
    with english.expect_download() as waiting:
        english.click(".rt-files a[download='report.html']")
    file = tmp_path / "report.html"
    waiting.value.save_as(file)
    report = english.context.new_page()
    report.goto(file.as_uri())
    report.evaluate(AXE_SCRIPT)
    assert report.evaluate(FINDINGS) == []
    report.close()


@pytest.mark.parametrize("size", WIDTHS, ids=["desk", "phone"])
def test_every_target_is_large_enough(english: Page, size: tuple[int, int]) -> None:
    """Targets are at least 24 x 24 px on every tab, and the page does not scroll sideways."""
    english.set_viewport_size({"width": size[0], "height": size[1]})
    small: dict[str, Any] = {}
    for name in TABS:
        open_tab(english, name)
        small[name] = english.evaluate(SMALL, MIN_TARGET_PX)
        assert english.evaluate("() => document.documentElement.scrollWidth") == size[0]
    assert {name: told for name, told in small.items() if told} == {}


@pytest.mark.parametrize("size", WIDTHS, ids=["desk", "phone"])
def test_a_points_card_stays_within_its_box(english: Page, size: tuple[int, int]) -> None:
    """The card also stays inside for points at the plot's edges."""
    english.set_viewport_size({"width": size[0], "height": size[1]})
    open_tab(english, "sweep")
    points = english.locator("#sweep .rt-point")
    for i in range(points.count()):
        points.nth(i).focus()
        english.wait_for_selector(".rt-tip:not([hidden])")
        assert max(english.evaluate(OUTSIDE)) <= 0
