"""The pages themselves: the same results give the same bytes, LaTeX that LaTeX can read, plots that hold their data."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import markupsafe
import pytest

from helpers.gallery import gallery_run
from helpers.results import make_table, write
from rrsis_bench._version import __version__
from rrsis_bench.boards import leaderboard
from rrsis_bench.boards.collect import load
from rrsis_bench.boards.render import html, latex, plots, views
from rrsis_bench.boards.render.cells import Column, spread
from rrsis_bench.boards.render.drawings import bare, fill, slot
from rrsis_bench.cli import main
from rrsis_bench.errors import UserError


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("render") / "results"
    gallery_run(root / "runs", "lavt", by=2)
    gallery_run(root / "runs", "s4eca", by=9, seed=1)
    write(root / "runs", dataset="houston", kind="retrained", variant="lite", table=make_table(seed=4))
    leaderboard.write(leaderboard.outputs(root)[0])
    return root


def page(results, name):
    return (results / "leaderboard" / name).read_text()


def test_which_files_there_are(results):
    names = {path.name for path in (results / "leaderboard").iterdir()}
    boards = ("smoke", "rrsisd", "refsegrs", "risbench", "houston", "efficiency")
    assert {f"{board}.{suffix}" for board in boards for suffix in ("md", "csv", "json", "tex")} <= names
    drawn = {"smoke-tiny-test-accuracy.svg", "smoke-tiny-test-parts.svg"}
    drawn |= {"houston-test-retrained-accuracy.svg", "houston-test-retrained-parts.svg"}
    assert {name for name in names if name.endswith(".svg")} == drawn
    assert {"index.html", "README.md"} <= names


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(results, tmp_path):
    words = ["leaderboard", "--results", str(results), "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "rrsis_bench", *words], check=True, capture_output=True)
    for path in (results / "leaderboard").iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_no_local_path_gets_into_a_page(results):
    for path in (results / "leaderboard").iterdir():
        assert str(results) not in path.read_text(), path.name


def test_one_board_as_html_has_its_own_name(results, tmp_path, capsys):
    words = ["--results", str(results), "--out", str(tmp_path), "--board", "efficiency", "--format", "html", "tex"]
    assert main(["leaderboard", *words]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"efficiency.html", "efficiency.tex"}
    assert "multiply-adds" in capsys.readouterr().out


# --- plots and the drift gate ---------------------------------------------------------------------------------------


def test_plots_are_xml_and_hold_their_data(results):
    for path in (results / "leaderboard").glob("*.svg"):
        root = ET.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("aria-label")
        assert "<metadata>" not in path.read_text(), "neither a date nor a version"
    data = json.loads(re.search(r"<!-- plot:(.*?) -->", page(results, "smoke-tiny-test-accuracy.svg"))[1])
    assert [point["label"] for point in data["points"]] == ["LAVT (tiny)", "S4ECA (tiny)"]
    assert page(results, "smoke-tiny-test-accuracy.svg").count("trainable</title>") == 2


def check(results):
    return main(["leaderboard", "--results", str(results), "--out", str(results / "leaderboard"), "--check"])


@pytest.mark.parametrize("name", ["smoke-tiny-test-accuracy.svg", "index.html", "smoke.tex"])
def test_a_hand_edit_is_drift_wherever_it_is(name, results, capsys):
    path = results / "leaderboard" / name
    before = path.read_text()
    assert check(results) == 0
    edits = {
        "smoke-tiny-test-accuracy.svg": [("<path d=", "<path  d="), ('"y":0.', '"y":0.9')],
        "index.html": [("<path d=", "<path  d="), ('"y":0.', '"y":0.9'), ("S4ECA (tiny)", "BEST (tiny)")],
        "smoke.tex": [("S4ECA", "BEST")],
    }
    for old, new in edits[name]:
        assert old in before
        path.write_text(before.replace(old, new, 1))
        assert check(results) == 4, (old, new)
        assert name in capsys.readouterr().err
    path.write_text(before)
    assert check(results) == 0


def test_another_librarys_drawing_of_the_same_data_is_no_drift(results):
    path = results / "leaderboard" / "smoke-tiny-test-parts.svg"
    before = path.read_text()
    path.write_text(fill(bare(before), lambda data: "<svg xmlns='http://www.w3.org/2000/svg'/>"))
    assert path.read_text() != before
    assert check(results) == 0
    path.write_text(before)


def test_checking_needs_no_plotting_library_and_drawing_says_that_it_does(results, tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert check(results) == 0
    words = ["leaderboard", "--results", str(results), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing is written by halves"
    assert main([*words, "--format", "md", "csv", "json", "tex"]) == 0


def test_slots_keep_their_data_whatever_is_in_it():
    data = {"plot": "accuracy", "label": "a --> b <!-- c -- \u2028 </script>"}
    text = slot(data)
    assert text.count("-->") == text.count("<!--") == 1
    assert bare(fill(f"a\n{text}\nb", lambda got: json.dumps(got == data))) == f"a\n{text}\nb"
    assert "true" in fill(text, lambda got: json.dumps(got == data))


def test_zero_trainable_parameters_can_be_drawn():
    points = [
        {"label": "prior (tiny)", "x": 0, "y": 0.1, "interval": None},
        {"label": "big (tiny)", "x": 2e7, "y": 0.5, "interval": [0.4, 0.6]},
    ]
    svg = plots.draw({"plot": "accuracy", "title": "t", "points": points})
    assert "0.00 M trainable" in svg
    assert "nan" not in svg.lower()
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    assert width < 480
    assert height < 360


# --- LaTeX ----------------------------------------------------------------------------------------------------------


def test_latex_tables_are_whole_and_the_best_is_bold(results):
    text = page(results, "smoke.tex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") == 1
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    body = [line for line in text.splitlines() if line.rstrip().endswith(r"\\")]
    assert all(len(re.split(r"(?<!\\)&", line)) == len(columns) for line in body)
    head, first, second = body
    place = [cell.strip(" \\") for cell in head.split("&")].index("mIoU")
    assert r"\textbf{" in re.split(r"(?<!\\)&", first)[place]
    assert r"\textbf{" not in re.split(r"(?<!\\)&", second)[place]
    assert "booktabs" in text


def test_published_numbers_are_never_bold(results):
    text = page(results, "rrsisd.tex")
    assert text.count(r"\begin{table}") == 3
    assert r"\textbf" not in text
    assert "None is measured here" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [(r"a_b & 50 % {x} #1", r"a\_b \& 50 \% \{x\} \#1"),
     (r"$ ~ ^ \ ", r"\$ \textasciitilde{} \textasciicircum{} \textbackslash{}"),
     ("1 ± 2 – 3 Δ", r"1 $\pm$ 2 -- 3 $\Delta$"), ("two\nlines", "two lines")],
)  # fmt: skip
def test_latex_escapes(text, expected):
    assert latex.escape(text) == expected


# --- HTML -----------------------------------------------------------------------------------------------------------


def test_html_escapes_what_a_result_says(tmp_path):
    write(tmp_path / "runs", method="evil", efficiency={"trainable_parameters": 5}, table=make_table(
        category=["</script><script>alert(1)</script>"] * 25))  # fmt: skip
    text = html.page(load(tmp_path)[0])
    assert "<script>alert" not in text
    assert text.count("<script") == 2


def test_html_links_to_papers_results_data_and_files(results):
    text = page(results, "index.html")
    sections = dict(re.findall(r'<section class="board" id="([\w.-]+)".*?(.*?)</section>', text, re.DOTALL))
    expected = ["rrsisd", "refsegrs", "risbench", "houston", "nwpurefer", "efficiency", "smoke"]
    assert list(sections) == expected, "real data first, also a data set of which all is published"
    links = {name: set(re.findall(r'href="([^"]+)"', body)) for name, body in sections.items()}
    assert "https://arxiv.org/abs/2112.02244" in links["smoke"]
    for link in (link for found in links.values() for link in found if link.startswith("../")):
        assert (results / "leaderboard" / link).resolve().name == "result.json"
        assert (results / "leaderboard" / link).is_file()
    assert sum(link.startswith("../") for link in links["smoke"]) == 2
    assert {"https://github.com/Lsan2401/RMSIN", "https://arxiv.org/abs/2312.12470"} <= links["rrsisd"]
    assert "https://huggingface.co/datasets/JessicaYuan/RefSegRS" in links["refsegrs"]
    for name, found in links.items():
        assert {f"{name}.{suffix}" for suffix in ("md", "csv", "json", "tex")} <= found
        assert all((results / "leaderboard" / link).is_file() for link in found if not re.search("[/#]", link))
    (run,) = (results / "runs" / "houston").glob("*/*/result.json")
    made = json.loads(run.read_text())["provenance"]
    said = f"Measured {made['finished'][:10]} with rrsis_bench {made['package']}, torch {made['versions']['torch']}."
    assert said in sections["houston"]
    assert "Measured" not in sections["rrsisd"]
    assert f"rrsis_bench {__version__}" in text.partition("<footer>")[2]


@pytest.mark.parametrize(("text", "href"), [
    ("arXiv:2501.08580", "https://arxiv.org/abs/2501.08580"),
    ("ACM MM 2024 (10.1145/3664647.3681318)", "https://doi.org/10.1145/3664647.3681318"),
    ("see github.com/a-b/c.d.", "https://github.com/a-b/c.d"), ("https://x.org/y_z (big).", "https://x.org/y_z"),
    ("javascript:alert(1) data:text/html,x CVPR2020", None), ('https://x.org/"onload="y', "https://x.org/"),
])  # fmt: skip
def test_addresses_become_links(text, href):
    written = html.linked(text)
    assert re.findall(r'href="([^"]*)"', written) == ([] if href is None else [href])
    assert re.sub(r"<[^>]+>", "", written) == str(markupsafe.escape(text))


@pytest.mark.parametrize(("values", "best", "bold"), [
    ([0.5, 0.2], "max", 0.5), ([0.5, 0.5], "max", 0.5), ([0.0, 0.0], "max", None), ([1e-6, 0.0], "max", None),
    ([0.0, 0.3], "min", 0.0), ([0.0, 1e-6, 0.3], "min", None), ([0.001, 0.0], "max", 0.001), ([None, 0.3], "max", None),
])  # fmt: skip
def test_ties_at_zero_are_not_bold(values, best, bold):
    column = Column("x", "x", lambda row: spread(row, 0.0), lambda row: row, best=best)
    assert views.best(column, values) == bold


def test_html_holds_pictures_only_where_there_are_any(results, tmp_path):
    assert '"jpeg"' in page(results, "index.html")
    write(tmp_path / "runs", method="plain")
    assert '"jpeg"' not in html.page(load(tmp_path)[0])


def test_a_damaged_gallery_is_named_and_the_result_stays(results, tmp_path):
    root = tmp_path / "results"
    folder = gallery_run(root / "runs", "lavt")
    (folder / "gallery.json").write_text("{")
    boards, warnings = load(root)
    assert len(warnings) == 1
    assert "gallery.json" in warnings[0]
    assert boards[0].measured == 1
    assert boards[0].pictures == {}


def test_a_template_that_asks_for_what_is_not_there_fails():
    from jinja2 import UndefinedError

    from rrsis_bench.boards.render.templating import environment

    with pytest.raises(UndefinedError):
        environment("html").from_string("{{ nothing }}").render()


def test_drawing_an_unreadable_page_is_a_clear_error(results):
    path = results / "leaderboard" / "smoke.md"
    before = path.read_bytes()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"cannot read .*smoke\.md"):
        leaderboard.drifted({path: "text"})
    path.write_bytes(before)
