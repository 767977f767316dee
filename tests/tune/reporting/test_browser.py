"""The page in a real browser, opened from disk with no network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from reporting.stories import Story, evaluated
from tune.experiment.experiment import Experiment, several
from tune.reporting.report import side_by_side, write_comparison, write_report

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
OFFLINE = ("file:", "data:", "blob:")
NEEDED = "TESTS_NEED_LAB" in os.environ
pytestmark = pytest.mark.skipif(CHROMIUM is None and not NEEDED, reason="no chromium: install Debian's chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Enough trials for every figure of the page."""
    story = Story.begin(tmp_path_factory.mktemp("out"), recipes=("mlp", "knn"), trials=30)
    story.samples([f"a folder/with a long name {number}.png" for number in range(18)])
    chosen = []
    for recipe in ("mlp", "knn"):
        for number in range(14):
            state, values = (
                ("complete", [0.3, 0.5, 0.6 + number / 50]) if number % 3 else ("pruned", [0.2 + number / 99])
            )
            record = story.trial(recipe, values, state)
        story.trial(recipe, [0.1], "failed", note="ValueError: broken")
        for seed in range(2):
            story.final(record, seed=seed, val=0.8, right=33 + seed)
        chosen.append(record)
    for seed in range(2):
        story.default("mlp", seed=seed, val=0.7, right=30)
    write_report(story.experiment, story.study.records, story.finalists(*chosen), [], seconds=100.0)
    return story.experiment


@contextmanager
def opened(browser: Browser, file: Path, *, width: int = 1200, **options: Any) -> Iterator[Page]:
    """A page from disk, without a network; nothing that it says is an error."""
    with browser.new_context(offline=True, viewport={"width": width, "height": 900}, **options) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(OFFLINE) else errors.append(asked.url))
        page.goto(file.as_uri())
        yield page
        assert not errors


@pytest.fixture(scope="module", params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def page(browser: Browser, searched: Experiment, scheme: Any) -> Iterator[Page]:
    """The page, with all its figures drawn; nothing that it said was an error."""
    with opened(browser, searched.folder / "report" / "index.html", color_scheme=scheme) as page:
        tabs = page.locator("[role=tab]")
        for tab in [None, *range(tabs.count())]:
            if tab is not None:
                tabs.nth(tab).click()
            draw(page)
        yield page


def draw(page: Page) -> None:
    """Draw all visible figures."""
    for figure in page.locator("[data-figure]:visible").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()


def test_every_figure_is_drawn_and_not_empty(page: Page) -> None:
    figures = page.locator("[data-figure]")
    assert figures.count() >= 10
    empty = page.evaluate(
        """() => [...document.querySelectorAll("[data-figure]")].filter((place) =>
            !place.querySelector(".trace, .points path, .hm image, .imagelayer image")).map((p) => p.dataset.figure)"""
    )
    assert not empty


def test_a_trial_is_named_where_the_pointer_is(page: Page) -> None:
    curves = page.locator('[data-figure="curves"]')
    curves.scroll_into_view_if_needed()
    x, y = page.evaluate(
        """() => {
            const place = document.querySelector('[data-figure="curves"]'), layout = place._fullLayout;
            const trace = place.data.find((trace) => trace.meta === "complete" && trace.x.length > 1);
            const box = place.getBoundingClientRect(), {xaxis, yaxis} = layout;
            return [box.x + xaxis._offset + xaxis.d2p(trace.x[1]), box.y + yaxis._offset + yaxis.d2p(trace.y[1])];
        }"""
    )
    page.mouse.move(x - 40, y)
    page.mouse.move(x, y, steps=5)
    hover = curves.locator(".hoverlayer .hovertext")
    hover.first.wait_for()
    assert "trial" in (hover.first.text_content() or "")


def visible_states(page: Page) -> set[str]:
    states: list[str] = page.evaluate(
        """() => document.querySelector('[data-figure="curves"]').data
            .filter((trace) => trace.meta && (trace.visible ?? true) === true).map((trace) => trace.meta)"""
    )
    return set(states)


def test_trials_can_be_shown_by_state_and_by_recipe(page: Page) -> None:
    pruned = page.get_by_role("button", name="pruned")
    assert visible_states(page) == {"complete", "pruned", "failed"}
    pruned.click()
    assert pruned.get_attribute("aria-pressed") == "false"
    assert visible_states(page) == {"complete", "failed"}
    recipes = page.get_by_role("group", name="Show trials by recipe").get_by_role("button")
    for recipe in recipes.all():
        recipe.press("Space")
    assert visible_states(page) == set()
    recipes.first.click()
    assert visible_states(page) == {"complete", "failed"}, "what its state hides stays hidden"
    recipes.last.click()
    pruned.press("Enter")
    assert visible_states(page) == {"complete", "pruned", "failed"}


def test_progress_is_shown_against_trials_epochs_and_time(page: Page) -> None:
    for against, title in (("epochs trained", "epochs trained"), ("time", "minutes"), ("trials", "trial")):
        page.get_by_role("group", name="Progress against").get_by_role("button", name=against).click()
        assert page.locator('[data-figure^="history"] .xtitle').text_content() == title
        assert page.locator('[data-figure^="history"] .points path').count() > 20


def serious(page: Page) -> list[str]:
    """Return the barriers that axe finds for people who cannot see the page or use a mouse."""
    return [
        f"{violation['id']}: {violation['help']}: {[node['target'] for node in violation['nodes']][:3]}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def test_nothing_is_in_the_way_of_who_cannot_see_it(page: Page) -> None:
    assert not serious(page)


def test_a_phone_shows_all_of_it_without_scrolling_aside(browser: Browser, searched: Experiment) -> None:
    with opened(browser, searched.folder / "report" / "index.html", width=390, has_touch=True) as page:
        draw(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        wide = page.locator(".wide:visible")
        assert wide.count() == 3, "what is side by side can be read, and scrolled"
        assert all(figure.bounding_box()["width"] > 700 for figure in wide.all())  # type: ignore[index]
        assert not serious(page)


def test_on_paper_every_figure_and_recipe_is_there_and_light(browser: Browser, searched: Experiment) -> None:
    with opened(browser, searched.folder / "report" / "index.html", color_scheme="dark") as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator("[role=tabpanel]:visible").count() == 2
        for figure in page.locator("[data-figure]").all():
            assert figure.locator("svg.main-svg").count() > 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wide = page.evaluate("[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth)")
        assert not wide, "what is cut off cannot be scrolled on paper"
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("[role=tabpanel]:visible").count() == 1
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_tabs_are_walked_with_the_keyboard(page: Page) -> None:
    first, second = page.locator("[role=tab]").all()
    first.click()
    page.keyboard.press("ArrowRight")
    assert second.get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.id") == second.get_attribute("id")
    assert page.locator("[role=tabpanel]:visible").count() == 1


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three experiments, of which one was tested on other images, and one not at all."""
    folder = tmp_path_factory.mktemp("compared")
    other = {"digest": "f" * 64, "evaluated": evaluated("other", "other")}
    places = []
    for name, card in (("winner", {}), ("apart", other), ("untested", {})):
        story = Story.begin(folder, name=name, on_disk=True, card=card, trials=20, recipes=("mlp", "knn"))
        for number in range(10):
            trial = story.trial("mlp", [0.3, 0.5 + number / 50])
        if name != "untested":
            story.final(story.trial("knn", [0.6]), seed=0, val=0.6, right=20)
            story.final(trial, seed=0, val=0.9, right=35)
        story.study.close()
        places.append(str(story.experiment))
    story = Story.begin(folder, name="second", on_disk=True, recipes=("mlp",))
    story.final(story.trial("mlp", [0.5]), seed=0, val=0.5, right=30)
    story.study.close()
    return write_comparison(side_by_side(several([*places, str(story.experiment)])), folder / "comparison.html")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_of_a_comparison_is_drawn_and_in_nobodys_way(
    browser: Browser, compared: Path, scheme: Any, width: int
) -> None:
    with opened(browser, compared, width=width, color_scheme=scheme, has_touch=width < 500) as page:
        for figure in page.locator("[data-figure]").all():
            figure.scroll_into_view_if_needed()
            figure.locator(".trace").first.wait_for(state="attached")
        for against, title in (("epochs trained", "epochs trained"), ("time", "seconds"), ("trials", "trial")):
            page.get_by_role("group", name="Progress against").get_by_role("button", name=against).click()
            assert page.locator('[data-figure^="progress"] .xtitle').text_content() == title
            assert page.locator('[data-figure^="progress"] .lines path.js-line').count() == 4
        assert not serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
