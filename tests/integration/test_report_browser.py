"""The report in a real browser: no console error, no request, every section, tooltips, dark and light, quick."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import GaussianCopula
from raysynth.evaluation import evaluate_synthetic_data, privacy_dossier

SECTIONS = [
    "overview",
    "diagnostics",
    "columns",
    "pairs",
    "realism",
    "efficacy",
    "privacy",
    "attacks",
    "ledger",
    "making",
    "glossary",
]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DRAWN = "document.querySelector('canvas').width === document.querySelector('canvas').height"  # 300 x 150 before
PATIENCE = 30_000  # milliseconds; a browser that does not answer fails the test rather than hang it


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "no Chromium on this machine: the report is not opened (install the package 'chromium')"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of a few columns with holdout, its shareable twin, and one of 100 columns."""
    folder, rng = tmp_path_factory.mktemp("reports"), np.random.default_rng(0)

    def small() -> pd.DataFrame:
        x = rng.normal(size=400)
        when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 999, 400), unit="h")
        return pd.DataFrame(
            {"x": x, "y": x + rng.normal(size=400), "<b>c</b>": np.where(x > 0, "a", "b"), "when": when}
        )

    def wide() -> pd.DataFrame:
        base = rng.normal(size=(120, 1))
        numbers = pd.DataFrame(base + rng.normal(size=(120, 60)), columns=[f"number {i}" for i in range(60)])
        texts = pd.DataFrame(rng.integers(0, 12, (120, 40)).astype(str), columns=[f"category {i}" for i in range(40)])
        return pd.concat([numbers, texts], axis=1)

    model = GaussianCopula(verbose=False, seed=0).fit(small())
    results = evaluate_synthetic_data(small(), small(), holdout_data=small(), model_info=model)
    # every section with its default contents; the target is a number, since 12 classes take the models long
    many = evaluate_synthetic_data(wide(), wide(), holdout_data=wide(), target_columns="number 0", model_info=model)
    paths = {name: folder / f"{name}.html" for name in ("small", "shareable", "wide")}
    results.generate_report(paths["small"])
    results.generate_report(paths["shareable"], shareable=True)
    many.generate_report(paths["wide"])
    paths["committee"] = folder / "committee.html"
    results.generate_report(paths["committee"], profile="committee")
    return paths


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """The page, and everything that went wrong or over the network while it opened and was scrolled through."""
    page, trouble = browser.new_page(**options), []
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda m: trouble.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: trouble.append(f"error: {e}"))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(r.url))
    page.goto(path.as_uri())
    for section in page.query_selector_all("section"):
        section.scroll_into_view_if_needed()
    return page, trouble


# each scheme and width once; the other pairs are `slow`
SEEN = [
    ("light", 390),
    ("dark", 1280),
    pytest.param("light", 1280, marks=pytest.mark.slow),
    pytest.param("dark", 390, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("scheme", "width"), SEEN)
def test_every_section_opens_without_an_error(browser: Any, reports: dict[str, Path], scheme: str, width: int) -> None:
    page, trouble = opened(browser, reports["small"], color_scheme=scheme, viewport={"width": width, "height": 800})
    assert trouble == []
    assert [s.get_attribute("id") for s in page.query_selector_all("section")] == SECTIONS
    assert all(s.bounding_box()["height"] > 60 for s in page.query_selector_all("section"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out sideways
    page.close()


def test_charts_are_drawn_and_answer_to_the_pointer(browser: Any, reports: dict[str, Path]) -> None:
    page, trouble = opened(browser, reports["small"], viewport={"width": 1280, "height": 800})
    page.locator("canvas").first.scroll_into_view_if_needed()
    page.wait_for_function(DRAWN, timeout=PATIENCE)
    page.hover("svg.histogram >> nth=0")
    assert "real:" in page.inner_text("#tip") and "synthetic:" in page.inner_text("#tip")
    page.hover("canvas >> nth=2")
    assert "×" in page.inner_text("#tip")
    page.fill("#find", "<b>c")
    assert page.locator(".column:visible h3").all_inner_texts()[0].startswith("<b>c</b>")
    assert page.locator(".column:visible").count() == 1
    assert trouble == []
    page.close()


def test_charts_have_names_and_controls_are_reached_by_keyboard(browser: Any, reports: dict[str, Path]) -> None:
    page, _ = opened(browser, reports["small"])
    for chart in page.query_selector_all("[role=img]"):
        assert chart.get_attribute("aria-label")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert {"A", "INPUT", "SELECT", "SUMMARY"} <= reached
    page.close()


@pytest.mark.parametrize(("name", "scheme"), [("small", "light"), ("small", "dark"), ("shareable", "light")])
def test_the_page_keeps_the_rules_of_wcag_aa(browser: Any, reports: dict[str, Path], name: str, scheme: str) -> None:
    """axe-core finds no fault of levels A and AA: contrast, names, structure, what scrolls and is not reached."""
    from axe_playwright_python.sync_playwright import Axe

    page, _ = opened(browser, reports[name], color_scheme=scheme, viewport={"width": 1400, "height": 900})
    levels = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
    faults = Axe().run(page, options=levels).response["violations"]
    assert [(f["id"], [n["target"] for n in f["nodes"]][:3]) for f in faults] == []
    page.close()


def test_a_dark_page_prints_dark_on_white_and_whole(browser: Any, reports: dict[str, Path]) -> None:
    """On paper nothing scrolls or is closed: no text is cut off, no heading stands without its panel."""
    page, trouble = opened(browser, reports["small"], color_scheme="dark", viewport={"width": 720, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--text')").strip() == "#18202f"
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.locator("nav").is_hidden() and page.locator("#tip").is_hidden()
    assert page.evaluate("[...document.querySelectorAll('.panel')].every(p => !p.offsetHeight || p.innerText.trim())")
    assert len(page.pdf(format="A4", print_background=True)) > 10_000
    assert trouble == []
    page.close()


def test_a_committee_reads_two_printed_pages(browser: Any, reports: dict[str, Path]) -> None:
    page, trouble = opened(browser, reports["committee"], viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    printed = page.pdf(format="A4", print_background=True, prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page[^s]", printed)) == 2
    assert trouble == []
    page.close()


def test_what_scrolls_sideways_is_reached_by_keyboard(browser: Any, reports: dict[str, Path]) -> None:
    page, _ = opened(browser, reports["small"], viewport={"width": 390, "height": 800})
    scrolling = "[...document.querySelectorAll('.scroll')].filter(b => b.scrollWidth > b.clientWidth)"
    assert page.evaluate(f"{scrolling}.length") > 0
    assert page.evaluate(f"{scrolling}.every(b => b.tabIndex === 0)")
    page.close()


def test_the_shareable_report_opens_too(browser: Any, reports: dict[str, Path]) -> None:
    page, trouble = opened(browser, reports["shareable"])
    assert trouble == []
    assert [s.get_attribute("id") for s in page.query_selector_all("section")] == [
        "overview",
        "columns",
        "ledger",
        "making",
        "glossary",
    ]
    page.close()


def test_a_hundred_columns_open_in_two_seconds(browser: Any, reports: dict[str, Path]) -> None:
    """The quickest of three openings: what the page takes, not what a busy machine adds."""
    page, trouble = opened(browser, reports["wide"])
    took = []
    for _ in range(3):
        page.goto(reports["wide"].as_uri())
        took.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert trouble == []
    assert [s.get_attribute("id") for s in page.query_selector_all("section")] == SECTIONS
    assert page.locator(".column").count() == 100 and page.locator("svg.roc").count() == 3
    assert min(took) < 2000
    page.close()


@pytest.mark.parametrize("edition", ["private", "releasable"])
def test_a_dossier_is_two_printed_pages_and_an_annex(browser: Any, tmp_path: Path, edition: Any) -> None:
    """A4 with the page's own margins is 688 x 1024 pixels; the annex begins a page of its own."""
    rng = np.random.default_rng(0)
    tables = [pd.DataFrame({"x": rng.normal(size=n), "c": rng.choice(list("ab"), n)}) for n in (60, 60, 120)]
    model = GaussianCopula(verbose=False, seed=0).fit(tables[0])
    path = tmp_path / "dossier.html"
    privacy_dossier(model, *tables, n_targets=20, n_experiments=1).write(path, edition)
    page, trouble = opened(browser, path, viewport={"width": 390, "height": 800})
    assert trouble == [] and page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1024})
    place = "s => document.querySelector(s).getBoundingClientRect().top + scrollY"
    second, annex = (page.evaluate(place, selector) for selector in (".page-two", ".annex"))
    assert 300 < second < 1024 and 300 < annex - second < 1024
    assert page.evaluate("getComputedStyle(document.querySelector('.annex')).breakBefore") == "page"
    page.close()
