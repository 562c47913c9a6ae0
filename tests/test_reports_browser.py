"""Reports in a headless browser: keys, order, numbers on the page, accessibility, and names that would be code."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_reports import HOSTILE, NAMES, affinity, models_compared, resamples

import jaxsim as js

pytest.importorskip("playwright", reason="the extra browser is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="the extra browser is not installed")
from playwright.sync_api import sync_playwright  # noqa: E402

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SLOW = pytest.mark.slow
AXE = Path(axe.__file__).parent / "axe.min.js"


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system, or the one that playwright has installed."""
    own = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        path = own or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("there is no Chromium; set CHROMIUM to one, or run `playwright install chromium`")
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open the report of some records; whatever it logs, asks for or throws fails the test in the end."""
    pages, faults = [], []

    def opened(*records, size=WIDE, scheme="light", bypass_csp=False, **options):
        path = js.report(*records, path=tmp_path / f"report{len(pages)}.html", **options)
        page = browser.new_page(viewport=size, color_scheme=scheme, bypass_csp=bypass_csp)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert faults == []


def records(names=NAMES):
    return resamples(names), js.taxonomy.tree(affinity(names))


def rows(page):
    return page.locator(".cells tbody th").all_inner_texts()


def test_the_matrix_is_reordered(visit):
    boot, tree = records()
    page = visit(boot, tree)
    assert rows(page) == [NAMES[i] for i in tree.order]
    page.select_option(".order", "name")
    assert rows(page) == sorted(NAMES) == page.locator(".cells thead th span").all_inner_texts()[1:]
    cell = page.locator(".cells tbody tr").nth(0).locator("td").nth(1)
    assert cell.get_attribute("aria-label") == f"{boot.estimate[1, 0]:.3f}"  # depth and edges
    page.select_option(".order", "given")
    assert rows(page) == list(NAMES)


def test_keys_move_and_choose(visit):
    boot, _ = records()
    page = visit(boot)
    page.focus('.cells td[tabindex="0"]')
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    low, high = np.asarray(boot.interval())[:, 2, 0]
    score = f"{boot.estimate[2, 0]:.3f}"
    assert page.inner_text(".pair") == "normals → edges"
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith(f"normals to edges: score {score}, error ")
    assert f"95 % interval {low:.3f} to {high:.3f}" in label
    page.keyboard.press("Enter")
    assert page.input_value(".target") == "0"
    assert page.input_value(".row") == "2"
    assert f"score {score}, interval {low:.3f} to {high:.3f}" in page.locator(".bars svg").get_attribute("aria-label")
    ranked = page.locator(".ranking tbody th").all_inner_texts()
    assert ranked == [name for name, _ in boot.ranking("edges")]
    page.keyboard.press("End")
    assert page.inner_text(".pair") == "normals → faces"
    assert page.locator('.cells td[tabindex="0"]').count() == 1


def test_the_pointer_shows_a_pair(visit):
    boot, _ = records()
    page = visit(boot)
    page.locator(".cells tbody tr").nth(1).locator("td").nth(3).hover()
    assert page.inner_text(".pair") == "depth → faces"
    assert f"{boot.estimate[1, 3]:.3f}" in page.inner_text(".detail dl")
    page.select_option(".target", "3")
    assert page.locator(".ranking tbody th").all_inner_texts() == [name for name, _ in boot.ranking("faces")]


def test_the_table_of_all_pairs_sorts(visit):
    boot, _ = records()
    page = visit(boot)
    page.click(".list summary")
    page.locator(".list th button", has_text="score").click()
    shown = [float(v) for v in page.locator(".list tbody tr td:nth-child(3)").all_inner_texts()]
    assert shown == sorted(shown)
    assert len(shown) == 6
    assert page.locator('.list th[aria-sort="ascending"]').count() == 1


def test_missing_scores_say_why(visit):
    values = np.array(affinity().values)
    values[1] = values[:, 1] = np.nan
    found = js.Affinity(values, None, NAMES, NAMES, affinity().provenance, (("depth", 50),))
    page = visit(found)
    page.locator(".cells tbody tr").nth(1).locator("td").nth(3).hover()
    assert "no score" in page.inner_text(".detail dl")
    assert "its map has no value for 50 images" in page.inner_text(".detail dl")
    assert page.locator(".cells td.none").count() == 7
    assert page.locator(".cells td.none").first.get_attribute("aria-label") == "no score"
    assert "no score" in page.inner_text(".legend")


def test_names_run_nothing(visit):
    page = visit(*records(HOSTILE))
    page.click(".list summary")
    page.wait_for_timeout(100)
    assert page.title() == "jaxsim report: RSA"
    assert page.locator("img").count() == 0
    assert HOSTILE[0] in rows(page)


def serious(page):
    """Serious violations that axe-core finds."""
    found = page.evaluate("axe.run().then((found) => found.violations)")
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        (WIDE, "light"),
        (NARROW, "dark"),
        pytest.param(WIDE, "dark", marks=SLOW),
        pytest.param(NARROW, "light", marks=SLOW),
    ],
)
def test_axe_finds_no_serious_violation(visit, size, scheme):
    names = tuple(f"a network with a rather long name, {k}" for k in range(13))
    few, many = records(), records(names)
    others = js.Maps.from_condensed([[0.1, 0.5, 0.3]]), models_compared()
    page = visit(*few, *many, *others, size=size, scheme=scheme, bypass_csp=True)
    page.locator(".list summary").first.click()
    page.evaluate(AXE.read_text())
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_paper_is_light_and_wide_enough(visit):
    names = tuple(f"network {k} of thirty" for k in range(30))
    page = visit(*records(names), size={"width": 718, "height": 1000}, scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".order").is_visible()
    assert page.locator(".ranking tbody tr").last.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 718


def test_violations_are_seen(visit):
    page = visit(*records(), bypass_csp=True)
    page.evaluate(AXE.read_text())
    page.evaluate("document.documentElement.removeAttribute('lang')")
    page.evaluate("document.querySelector('.hint').style.color = '#eee'")
    assert [name for name, _ in serious(page)] == ["color-contrast", "html-has-lang"]


@pytest.mark.slow
def test_a_hundred_networks_answer_within_200_ms(visit):
    names = tuple(f"network {k} of a hundred" for k in range(100))
    page = visit(*records(names))
    time = """(change) => new Promise((done) => {
        const start = performance.now();
        eval(change);
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
    })"""
    for change in (
        "const one = document.querySelector('.order'); one.value = one.value === 'name' ? 'tree' : 'name'; "
        "one.dispatchEvent(new Event('change'))",
        "document.querySelectorAll('.cells td')[Math.floor(Math.random() * 9999)].click()",
    ):
        taken = [page.evaluate(time, change) for _ in range(9)]
        assert min(taken) < 200, taken  # the others say how busy the machine is
