"""What other people wrote into results and packages does nothing on a board: it is shown as it stands.

Markdown is read by a Markdown parser, HTML and SVG by parsers of theirs, CSV by the rule for spreadsheets.
"""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from helpers.results import make_result, make_table, write
from rrsis_bench.boards import leaderboard, sweep_table
from rrsis_bench.boards.render import latex
from rrsis_bench.boards.render.cells import sheet
from rrsis_bench.boards.render.markdown import escape
from rrsis_bench.cli import main
from rrsis_bench.results import record
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.seal import sealed

pytestmark = pytest.mark.slow

TEXTS = (
    "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1", "  =1+1", "\uff1d1+1",
    "[click](javascript:alert(1))", "![x](data:image/svg+xml;base64,AAAA)", "<javascript:alert(1)>", "[a]: data:x",
    "`code`", "a | b | c", "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "&lt;b&gt; &#106;", "# title",
    "> quote", "**bold** _it_ ~~out~~ snake_case", "back\\slash \\| \\`", "$x^$ $\\frac$", "_hidden", "%\\input{x}",
    "*star", "[opt]", "\x1b[31mred\x1b[0m", "\u202eright to left", "--> <!-- plot:{} -->",
)  # fmt: skip


def seen(text: str) -> str:
    """What a reader should see of a text."""
    return " ".join(re.sub("[\x1b\u202e]", "", text).split())


def put(root, method, table=None):
    """Write a result whose method says this of itself."""
    table = make_table(6) if table is None else table
    result = make_result(table) | {"method": method}
    folder = RunFolder(root / "runs" / "tiny" / f"{method['name']}@{method['variant']}" / "seed0")
    record.write_run(folder, sealed(result), table, "a: 1\n")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile") / "results"
    for number, text in enumerate(TEXTS):
        method = {"name": "evil", "variant": f"v{number}", "title": text, "venue": text, "encoders": text}
        table = make_table(6, seed=number, category=[text, "ship"] * 3)
        put(root, method, table)
    files, _, warnings = leaderboard.outputs(root)
    assert warnings == []
    leaderboard.write(files)
    return {path.name: path.read_text() for path in files}


def test_no_cell_of_a_csv_board_is_a_formula(pages):
    rows = list(csv.reader(pages["smoke.csv"].splitlines()))
    assert len(rows) == 1 + len(TEXTS)
    for row in rows:
        for cell in row:
            assert not re.match(r"\s*[=+@\uff1d]|[\t\r\n]", cell), cell
            assert not cell.startswith("-") or float(cell) < 0
    titles = {row[rows[0].index("title")] for row in rows[1:]}
    assert {"'=1+1", "'-1+1", "'@SUM(A1)", "`code`"} <= titles


@pytest.mark.parametrize("value", [-0.5, -3, 0.25, None, "S4ECA", "a-b", "1e-5"])
def test_numbers_and_harmless_text_stay(value):
    assert sheet(value) == ("" if value is None else value)


def test_a_sweeps_table_is_guarded_too():
    row = sweep_table.CellRow("=data", "a|b [x](javascript:y)", 1, 1, *[{"miou": -0.5, "oiou": None}] * 3, None)
    row.difference.update(dict.fromkeys(("oiou", "pr50", "pr70", "pr90")))
    text = sweep_table.csv_text([row])
    assert "'=data" in text
    assert ",-0.5," in text
    names = ("pr50", "pr70", "pr90")
    whole = sweep_table.CellRow(
        "d", "a|b [x](javascript:y)", 1, 1, *[dict.fromkeys(("miou", "oiou", *names))] * 3, None
    )
    body = MarkdownIt("gfm-like", {"linkify": False}).render(sweep_table.markdown("`t`", [whole]))
    assert "<a " not in body
    assert "a|b [x](javascript:y)" in body


class Words(HTMLParser):
    """Text, tags and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def read_html(text):
    words = Words()
    words.feed(text)
    words.cells = [cell.strip() for cell in words.cells]
    return words


def test_markdown_shows_every_text_as_it_stands(pages):
    found = read_html(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(pages["smoke.md"]))
    for number, text in enumerate(TEXTS):
        assert f"{seen(text)} (v{number})" in found.cells
        assert seen(text) in found.cells
    plain = {"h1", "table", "thead", "tbody", "tr", "th", "td", "p", "strong", "a", "blockquote", "code"}
    assert found.tags <= plain
    assert all(link.startswith("../runs/tiny/evil@v") for link in found.links)
    assert len(found.links) == len(TEXTS)


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_escapes_one_by_one(text):
    body = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(f"| a |\n|---|\n| {escape(text)} |\n")
    assert read_html(body).cells == ["a", " ".join(text.split())]
    assert read_html(body).tags == {"table", "thead", "tbody", "tr", "th", "td"}


def test_the_page_has_no_foreign_link_or_tag(pages):
    found = read_html(pages["index.html"])
    assert not {"img", "iframe", "object", "b"} & found.tags
    for link in found.links:
        assert re.match(r"https://|#[\w.-]+$|\.\./runs/|data:,$|[\w.-]+\.(md|csv|json|tex)$", link), link
    assert pages["index.html"].count("<script") == 2
    shown = set(found.cells)
    assert {f"{seen(text)} (v{number})" for number, text in enumerate(TEXTS)} <= shown


def test_plots_are_sound_and_name_everyone(pages):
    names = [name for name in pages if name.endswith(".svg")]
    assert len(names) == 2
    for name in names:
        root = ET.fromstring(pages[name])
        assert {node.tag.rpartition("}")[2] for node in root.iter() if isinstance(node.tag, str)} <= {
            "svg", "g", "path", "text", "title", "defs", "use", "style", "clipPath", "rect",
        }  # fmt: skip
        assert "".join(root.itertext())
    words = "".join(ET.fromstring(pages["smoke-tiny-test-accuracy.svg"]).itertext())
    assert "$x^$ $\\frac$ (v23)" in words


def test_a_plot_of_parts_names_a_method_that_begins_with_an_underscore(tmp_path):
    method = {"name": "evil", "variant": "x", "title": "_hidden"}
    put(tmp_path, method)
    files, _, _ = leaderboard.outputs(tmp_path, formats=("svg",), out=tmp_path / "out")
    leaderboard.write(files)
    words = "".join(ET.fromstring((tmp_path / "out" / "smoke-tiny-test-parts.svg").read_text()).itertext())
    assert "_hidden (x)" in words


def test_latex_and_json_hold_the_text(pages):
    body = pages["smoke.tex"].partition("\\midrule")[2]
    for line in body.splitlines():
        assert not re.match(r"\s*[\[*]", line)
        assert not re.search(r"(?<!\\)[%#$_^~]|\\input", re.sub(r"\$\\pm\$|\$[<>]\$", "", line.rstrip("%"))), line
    assert latex.escape("[opt] x") == "{[}opt] x"
    rows = json.loads(pages["smoke.json"])["tables"][0]["rows"]
    assert {row["card"]["title"] for row in rows} == {seen(text) for text in TEXTS}


def test_the_terminal_gets_no_control_signs(tmp_path, capsys):
    method = {"name": "evil", "variant": "x", "title": "\x1b[2Jgone"}
    put(tmp_path, method)
    words = ["leaderboard", "--results", str(tmp_path), "--board", "smoke", "--format", "md"]
    assert main(words) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_folders_cannot_leave_a_link(tmp_path):
    folder = tmp_path / "a) [b](javascript:x) %23#"
    write(folder / "deep", method="plain")
    text = leaderboard.outputs(tmp_path, formats=("md", "html"))[0]
    markdown = next(page for path, page in text.items() if path.name == "smoke.md")
    (link,) = read_html(MarkdownIt("gfm-like", {"linkify": False}).render(markdown)).links
    assert link == "../a%29%20%5Bb%5D%28javascript%3Ax%29%20%2523%23/deep/tiny/plain@tiny/seed0"
    page = next(page for path, page in text.items() if path.name == "index.html")
    assert f'href="{link}' in page
