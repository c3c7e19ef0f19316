"""The HTML page in a real browser: sorting, filtering, comparing, themes, phone width, keyboard.

Needs a Chromium and the package `playwright` (its own browser download is not needed): `make test-browser` installs
both. `RRSIS_CHROMIUM` names another browser binary.
"""

from __future__ import annotations

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helpers.boards import fill
from helpers.gallery import gallery_run
from helpers.page_checks import CONTRAST, OUT_OF_SIGHT, check_names_and_ids
from helpers.results import make_table, write
from rrsis_bench.boards import leaderboard
from rrsis_bench.boards.board import BESIDE_BOARDS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
CHROMIUM = os.environ.get("RRSIS_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: make test-browser installs one"),
]
FETCHED = {"href", "src", "srcset", "data", "poster", "background", "action", "formaction", "manifest"}
"""Attributes, of any tag but `a`, whose address a browser fetches."""
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    results = tmp_path_factory.mktemp("browser") / "results"
    gallery_run(results / "runs", "lavt", by=2)
    gallery_run(results / "runs", "s4eca", by=9, seed=1)
    write(results / "runs", method="other", seed=2, table=make_table(seed=2), efficiency=None)
    write(results / "runs", dataset="rrsisd", kind="retrained", variant="base")
    return page_of(results)


@pytest.fixture(scope="module")
def further_address(tmp_path_factory):
    """The page of results with detail, under perturbations, on other data sets and of samples without a target."""
    results = tmp_path_factory.mktemp("further") / "results"
    fill(results / "runs", seeds=1, n=30)
    return page_of(results)


def page_of(results):
    files, _, warnings = leaderboard.outputs(results, formats=("html",))
    assert warnings == []
    leaderboard.write(files)
    return (results / "leaderboard" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser, address):
    """Open the page; whatever it writes to the console, or asks from a network, fails the test."""
    contexts, complaints = [], []

    def open_page(board="smoke", viewport=DESKTOP, at=address, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
        )
        page.goto(f"{at}#{board}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def column(page, board, title, table=0):
    """Texts of a column's cells, in order."""
    here = page.locator(f"#{board} table").nth(table)
    heads = [re.sub(r"\W+$", "", text.strip()) or text.strip() for text in here.locator("thead th").all_inner_texts()]
    place = heads.index(title)
    return [row.locator("th, td").nth(place).inner_text() for row in here.locator("tbody tr").all() if row.is_visible()]


def test_one_board_at_a_time_by_address_and_by_link(opened):
    page = opened("rrsisd")
    assert [section.get_attribute("id") for section in page.locator(".board").all() if section.is_visible()] == [
        "rrsisd"
    ]
    page.get_by_role("link", name="Smoke: the synthetic split").click()
    assert page.locator("#smoke").is_visible()
    assert not page.locator("#rrsisd").is_visible()
    assert page.locator("nav [aria-current=page]").inner_text() == "Smoke: the synthetic split"
    assert page.evaluate("document.activeElement.id") == "smoke-title"


def test_sorting_by_mouse_and_by_keyboard_says_its_state(opened):
    page = opened("smoke")
    before = column(page, "smoke", "method")
    head = page.locator("#smoke thead th", has_text="oIoU").first
    button = head.get_by_role("button")
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(page, "smoke", "oIoU")]
    assert values == sorted(values, reverse=True)
    button.focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(page, "smoke", "oIoU")] == sorted(values)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, "smoke", "method") == before


def test_unknown_values_are_sorted_last_both_ways(opened):
    page = opened("smoke")
    button = page.locator("#smoke thead th", has_text="trainable").get_by_role("button")
    for _ in range(2):
        button.click()
        assert column(page, "smoke", "trainable")[-1] == ""


def test_filter_counts_what_is_left(opened):
    page = opened("rrsisd")
    page.locator("#filter-rrsisd").fill("dicor swin-b lavt")
    shown = [row for row in page.locator("#rrsisd tbody tr").all() if row.is_visible()]
    assert len(shown) == 1
    assert "LAVT" in shown[0].inner_text()
    assert re.fullmatch(r"1 of \d+ rows", page.locator("#rrsisd output").inner_text())
    page.locator("#filter-rrsisd").fill("")
    assert page.locator("#rrsisd output").inner_text() == ""


def test_two_methods_side_by_side(opened):
    page = opened("smoke")
    first, second = page.locator("#smoke [data-choice=a]"), page.locator("#smoke [data-choice=b]")
    names = first.locator("option").all_inner_texts()
    assert len(names) == 3
    first.select_option("LAVT (tiny)")
    second.select_option("S4ECA (tiny)")
    assert page.locator("#smoke [data-bars=category] .part").count() == 2
    bar = page.locator("#smoke [data-bars=category] .part .a").first
    assert re.fullmatch(r"LAVT \(tiny\): \d+\.\d\d", bar.get_attribute("title"))
    figures = page.locator("#smoke .gallery figure")
    assert figures.count() == 10
    labels = [canvas.get_attribute("aria-label") for canvas in figures.first.locator("canvas").all()]
    assert labels[0].startswith("truth of")
    near, far = (float(label.rpartition("IoU ")[2]) for label in labels[1:])
    assert near > far > 0
    second.select_option("other (tiny)")
    assert page.locator("#smoke .gallery canvas").nth(2).get_attribute("aria-label").endswith("no picture kept")


def test_masks_are_painted_where_they_are(opened):
    page = opened("smoke")
    page.locator("#smoke [data-choice=a]").select_option("LAVT (tiny)")
    page.wait_for_function("document.querySelectorAll('.gallery canvas')[1].width === 384")
    page.wait_for_timeout(200)
    # Pink over the prediction, nothing of it on the picture of the truth.
    count = """(place) => { const c = document.querySelectorAll('.gallery canvas')[place];
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let k = 0; k < d.length; k += 4) n += d[k] > d[k + 1] + 60 && d[k + 2] > d[k + 1] + 20; return n; }"""
    assert page.evaluate(count, 0) < 20
    assert page.evaluate(count, 1) > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_follows_the_system_and_the_button(scheme, opened):
    page = opened("smoke", color_scheme=scheme)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    assert (int(re.findall(r"\d+", before)[0]) > 128) == (scheme == "light")
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(ground) != before
    assert page.evaluate("document.documentElement.dataset.theme") == {"light": "dark", "dark": "light"}[scheme]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("board", ["smoke", "rrsisd", "efficiency"])
def test_every_word_has_enough_contrast(board, scheme, opened):
    # Without motion: a link whose ground is still fading in would be read half-way, on a busy machine.
    page = opened(board, color_scheme=scheme, reduced_motion="reduce")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("board", ["smoke", "rrsisd"])
def test_scores_are_in_sight_without_scrolling_a_table(board, width, opened):
    page = opened(board, viewport={"width": width, "height": 900})
    seen, bad = page.evaluate(OUT_OF_SIGHT, board)
    assert seen > 10
    assert bad == []


def test_the_first_board_is_of_real_data_and_no_address_breaks_the_page(opened):
    for anchor in ("", "%", "%E0%A4%A", "nothing"):
        page = opened(anchor)
        assert [section.get_attribute("id") for section in page.locator(".board").all() if section.is_visible()] == [
            "rrsisd"
        ]
        assert page.locator("#theme").is_visible()


@pytest.mark.parametrize("board", ["smoke", "rrsisd", "efficiency"])
def test_phone_width_scrolls_tables_not_the_page(board, opened):
    page = opened(board, viewport=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator(f"#{board} .scroll").first.evaluate("node => node.scrollWidth > node.clientWidth")
    name = page.locator(f"#{board} tbody th").first
    page.locator(f"#{board} .scroll").first.evaluate("node => node.scrollTo(300, 0)")
    assert name.bounding_box()["x"] < 40, "the method's name stays in sight"


def test_without_scripts_everything_is_there(opened):
    page = opened("smoke", java_script_enabled=False)
    assert page.locator(".board").count() == 6
    assert all(section.is_visible() for section in page.locator(".board").all())
    assert not page.locator("#theme").is_visible()
    assert page.locator("#rrsisd tbody tr").count() > 30


def test_boards_of_their_own_at_phone_width(opened, further_address):
    """Tables scroll in their box, never the page; captions and pictures are in sight; every word has contrast."""
    page = opened("detail", PHONE, further_address, is_mobile=True, color_scheme="dark", reduced_motion="reduce")
    for board in BESIDE_BOARDS:
        page.evaluate("(name) => { location.hash = name; }", board)
        page.wait_for_function("(name) => !document.getElementById(name).hidden", arg=board)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], board
        assert page.evaluate(CONTRAST) == [], board
        for one in page.locator(f"#{board} caption span, #{board} figure svg").all():
            box = one.bounding_box()
            assert box["x"] >= 0, board
            assert box["x"] + box["width"] <= PHONE["width"], board
        for table in page.locator(f"#{board} .scroll").all():
            table.evaluate("node => node.scrollTo(200, 0)")
            assert 0 <= table.locator("caption span").bounding_box()["x"] < 40, board
            assert 0 <= table.locator("tbody th").first.bounding_box()["x"] < 40, board
    assert page.locator("#detail figure svg").count() == 2
    check_names_and_ids(page)


def test_the_page_works_by_keyboard(opened, further_address):
    page = opened("detail", PHONE, further_address)
    page.locator(".skip").focus()
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#boards"
    assert page.locator("#detail").is_visible(), "to skip the header changes no board"
    places = ("#theme", "nav a >> nth=1", "#filter-detail", "#detail .scroll >> nth=0", "#detail th button >> nth=1")
    for place in places:
        # Focus that a program gives shows like that of the keyboard once a key was pressed.
        page.locator(place).focus()
        assert page.locator(place).evaluate("node => getComputedStyle(node).outlineStyle") == "solid", place
        box = page.locator(place).bounding_box()
        assert box["x"] >= 0, place
        assert box["x"] < PHONE["width"], place
    assert page.evaluate(CONTRAST) == []
    page.locator("#detail .scroll").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#detail .scroll').scrollLeft > 0")
    page.locator("nav a", has_text="Robustness").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("!document.getElementById('robustness').hidden")
    assert page.evaluate("document.activeElement.id") == "robustness-title"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.board').id") == "robustness", "on with the board itself"


def test_every_control_has_a_name_and_ids_are_unique(opened):
    check_names_and_ids(opened("smoke"))


def test_the_page_is_one_file(address):
    """A reader may follow a link to a paper; the browser itself fetches nothing."""
    text = Path(address.removeprefix("file://")).read_text()
    fetched = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag != "a":
                addresses = [(k, v) for k, v in attrs if v and re.search("(^|[ ,])(https?:)?//", v)]
                fetched.extend(f"<{tag} {k}={v}>" for k, v in addresses if k.rpartition(":")[2] in FETCHED)

    Tags().feed(text)
    assert fetched == []
    assert not re.findall(r"""url\(\s*["']?(?:https?:)?//|@import""", text)
