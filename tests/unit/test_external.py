"""`results score`: the same integers from anybody's masks; whatever is wrong is named, and then nothing is written."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import rrsis_bench
from rrsis_bench.boards.board import build_boards
from rrsis_bench.boards.collect import collect
from rrsis_bench.cli import main
from rrsis_bench.data import masks
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.functional import score_masks
from rrsis_bench.metrics.protocols import of_masks
from rrsis_bench.results import external
from rrsis_bench.results.predictions import PredictionError, count_predictions
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder

SIZES = ((40, 60), (40, 60), (33, 21), (64, 64))


def truth_of(k):
    mask = np.zeros(SIZES[k], np.uint8)
    mask[5 : 20 + k, 3:18] = 1
    return mask


def guess_of(k):
    return np.roll(truth_of(k), k, axis=1)


RECORDS = [
    Pair(f"s{k}", f"i{k // 2}", f"{k}.png", SIZES[k][1], SIZES[k][0], masks.encode(truth_of(k)), "a dam", "test", "dam")
    for k in range(4)
]


def uncompressed(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": lengths if flat[0] == 0 else [0, *lengths]}


def lines(path, entries):
    text = "".join(json.dumps({"sample_id": key, "rle": rle}) + "\n" for key, rle in entries)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def folder(path, scale=255):
    path.mkdir()
    for k in range(4):
        Image.fromarray(guess_of(k) * scale).save(path / f"s{k}.png")
    return path


def forms(tmp_path):
    guesses = [guess_of(k) for k in range(4)]
    return [
        lines(tmp_path / "a.jsonl", [(f"s{k}", masks.encode(guess)) for k, guess in enumerate(guesses)]),
        lines(tmp_path / "b.jsonl.gz", [(f"s{k}", uncompressed(guess)) for k, guess in enumerate(guesses)][::-1]),
        folder(tmp_path / "png"),
        folder(tmp_path / "ones", 1),
        {f"s{k}": guess.astype(bool) for k, guess in enumerate(guesses)},
    ]


def test_every_form_gives_the_integers_of_the_pixels(tmp_path):
    expected = [
        [truth_of(k).sum(), guess_of(k).sum(), (truth_of(k) & guess_of(k)).sum()] for k in range(4)
    ]  # fmt: skip
    for form in forms(tmp_path):
        assert count_predictions(form, RECORDS).tolist() == expected


def test_empty_masks_and_odd_pngs(tmp_path):
    path = folder(tmp_path / "png")
    Image.fromarray(np.zeros(SIZES[0], np.uint8)).save(path / "s0.png")
    Image.fromarray(guess_of(1).astype(bool)).save(path / "s1.png")
    Image.fromarray(np.repeat(guess_of(2)[..., None] * 200, 3, axis=2)).save(path / "s2.png")
    counts = count_predictions(path, RECORDS)
    assert counts[0].tolist() == [15 * 15, 0, 0]
    assert counts[1:].tolist() == count_predictions(folder(tmp_path / "plain"), RECORDS)[1:].tolist()


def problems_of(predictions):
    with pytest.raises(PredictionError) as caught:
        count_predictions(predictions, RECORDS)
    assert "Nothing was written" in str(caught.value)
    return caught.value.problems


def test_every_bad_line_is_named(tmp_path):
    good = [masks.encode(guess_of(k)) for k in range(4)]
    damaged = {"size": [40, 60], "counts": good[1]["counts"][:-2]}
    path = lines(
        tmp_path / "p.jsonl",
        [("s0", good[0]), ("s0", good[0]), ("s1", damaged), ("s2", good[0]), ("nobody", good[3]), ("s3", [[0, 0, 1]])],
    )
    with path.open("a") as file:
        file.write('{"sample_id": \n[1]\n{"rle": {}}\n')
    found = problems_of(path)
    wanted = [
        (2, "'s0' is predicted twice, first in"),
        (3, "'s1': RLE"),
        (4, "'s2': the mask is 40 high and 60 wide, its truth 33 and 21"),
        (5, "unknown sample 'nobody'"),
        (6, "'s3': 'rle' is no COCO RLE"),
        (7, "not a line of JSON"),
        (8, "no object with a 'sample_id'"),
        (9, "no object with a 'sample_id'"),
    ]
    assert len(found) == len(wanted)
    for problem, (number, words) in zip(found, wanted, strict=True):
        assert problem.startswith(f"{path}:{number}: ")
        assert words in problem


def test_missing_samples_are_named_one_by_one(tmp_path):
    path = lines(tmp_path / "p.jsonl", [("s2", masks.encode(guess_of(2)))])
    assert problems_of(path) == tuple(f"sample 's{k}' has no prediction" for k in (0, 1, 3))


def test_bad_pngs_are_named(tmp_path):
    path = folder(tmp_path / "png")
    (path / "s0.png").write_bytes((path / "s0.png").read_bytes()[:40])
    grey = np.linspace(0, 255, 40 * 60).reshape(40, 60).astype(np.uint8)
    Image.fromarray(grey).save(path / "s1.png")
    Image.fromarray(np.dstack([guess_of(2)] * 4) * 255).save(path / "s2.png")
    two = guess_of(3) * 0
    two[:, ::2] = 9
    Image.fromarray(np.dstack([guess_of(3), two, guess_of(3) * 2])).save(path / "s3.png")
    found = problems_of(path)
    for problem, words in zip(
        found, ("truncated or no image", "not scored", "alpha channel", "different values"), strict=True
    ):
        assert words in problem


def test_truncated_gzip_and_other_files(tmp_path):
    path = lines(tmp_path / "p.jsonl.gz", [(f"s{k}", masks.encode(guess_of(k))) for k in range(4)])
    path.write_bytes(path.read_bytes()[:-12])
    assert any("truncated or damaged" in problem for problem in problems_of(path))
    for make, message in (
        (lambda p: p.mkdir(), "holds no PNG"),
        (lambda p: p.write_text(""), "is empty"),
        (lambda p: None, "there is no"),
    ):
        target = tmp_path / f"x{message[:5]}"
        make(target)
        with pytest.raises(UserError, match=message):
            count_predictions(target, RECORDS)


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A small data set of the user's own, as a real (not synthetic) one."""
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "runs"))
    root = tmp_path / "own"
    root.mkdir()
    rows = []
    for k in range(4):
        Image.fromarray(np.full((*SIZES[k], 3), 40 * k, np.uint8)).save(root / f"{k}.png")
        rows.append({"sample_id": f"s{k}", "image": f"{k}.png", "rle": masks.encode(truth_of(k)), "split": "test",
                     "expression": "the dam on the left", "category": "dam"})  # fmt: skip
    listing = root / "list.jsonl"
    listing.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return listing


def test_a_result_like_any_other_and_a_row_on_the_board(real, tmp_path, capsys):
    path = forms(tmp_path)[0]
    words = ["results", "score", str(path), "--dataset", "own", "--manifest", str(real), "--method", "theirs"]
    assert main([*words, "--seed", "3", "--venue", "X", "--year", "2025", "--parameters", "12"]) == 0
    shown = capsys.readouterr().out
    assert "native-v1" in shown
    assert "paper-lavt480-v1, paper-detris-v1, paper-rs2sam2-v1, paper-c3vg-v1" in shown
    run = tmp_path / "runs" / "own" / "theirs@external" / "seed3"
    result = json.loads((run / "result.json").read_text())
    assert (result["kind"], result["protocols"]) == ("external", ["native-v1", "paper-rsrefseg2-v1"])
    expected = score_masks([truth_of(k) for k in range(4)], [guess_of(k) for k in range(4)], "native-v1")
    assert result["metrics"]["native-v1"]["oiou"]["value"] == pytest.approx(expected["oiou"])
    assert result["metrics"]["native-v1"]["pr70"]["value"] == expected["pr70"]
    assert (result["method"]["year"], result["efficiency"]["parameters"]) == (2025, 12)
    assert read_samples(RunFolder(run)).lengths.tolist() == [5] * 4
    assert main(["results", "check", str(run)]) == 0
    assert main(["results", "rescore", str(run), "--check"]) == 0
    runs, warnings = collect(tmp_path / "runs")
    assert warnings == []
    (board,) = [one for one in build_boards(runs) if one.name == "own"]
    (table,) = board.tables
    assert (table.kind, [row.method for row in table.rows]) == ("external", ["theirs"])
    assert main(words) == 0  # another seed
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_nothing_is_written_for_bad_predictions(real, tmp_path, capsys):
    path = lines(tmp_path / "p.jsonl", [("s1", masks.encode(guess_of(0))), ("x", masks.encode(guess_of(0)))])
    words = ["results", "score", str(path), "--dataset", "own", "--manifest", str(real), "--method", "theirs"]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if "unknown sample 'x'" in line]
    assert sum("has no prediction" in line for line in error) == 3
    assert error[-1].endswith("(and 3 more). Nothing was written.")
    assert not list((tmp_path / "runs").rglob("*"))


def test_a_wrong_folder_prints_ten_lines_and_the_count(real, tmp_path, capsys):
    folder = tmp_path / "wrong"
    folder.mkdir()
    for number in range(25):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / f"x{number}.png")
    words = ["results", "score", str(folder), "--dataset", "own", "--manifest", str(real), "--method", "theirs"]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()
    assert len([line for line in error if line.startswith("rrsis-bench: bad prediction: ")]) == 10
    assert len(error) == 11
    assert error[-1].endswith(f"(and {25 + 4 - 1} more). Nothing was written.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--method": "a/b"}, "cannot be a name"),
        ({"--split": "tets"}, "Did you mean 'test'"),
        ({"--split": "train"}, "no sample in split 'train'"),
        ({"--dataset": "onw"}, "unknown data set 'onw'. Did you mean 'own'"),
    ],
)
def test_wrong_words_are_one_line(change, message, real, tmp_path, capsys):
    flags = {"--dataset": "own", "--manifest": str(real), "--method": "theirs", **change}
    path = forms(tmp_path)[0]
    assert main(["results", "score", str(path), *(word for pair in flags.items() for word in pair)]) in {2, 3}
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_from_python_and_on_the_smoke_board(tmp_path, monkeypatch):
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "runs"))
    located = locate({"dataset": "tiny", "source": "rrsisd", "generator": {"name": "tiny"}})
    records = list(Manifest.open(ensure_manifest(located), "test"))
    perfect = {record.sample_id: record.rle for record in records}
    result = rrsis_bench.score(perfect, dataset="tiny", method="oracle", selected_on="none", about={"title": "Oracle"})
    assert result["kind"] == "smoke"
    assert result["metrics"]["native-v1"]["miou"]["value"] == 1
    assert result["method"]["title"] == "Oracle"
    with pytest.raises(PredictionError) as caught:
        rrsis_bench.score({}, dataset="tiny", method="none")
    assert len(caught.value.problems) == len(records) == 400


def test_protocols_that_masks_cannot_give_are_left_out():
    assert of_masks() == ("native-v1", "paper-rsrefseg2-v1")
    assert external.left_out() == ["paper-lavt480-v1", "paper-detris-v1", "paper-rs2sam2-v1", "paper-c3vg-v1"]


def test_areas_agree_with_pycocotools_decoding():
    rng = np.random.default_rng(0)
    for _ in range(20):
        size = tuple(rng.integers(1, 50, 2))
        truth, guess = (rng.random(size) > cut for cut in (0.5, 0.7))
        record = Pair("s", "i", "x", size[1], size[0], masks.encode(truth), "a", "test", "")
        (counts,) = count_predictions({"s": uncompressed(guess.astype(np.uint8))}, [record])
        assert counts.tolist() == [truth.sum(), guess.sum(), (truth & guess).sum()]
        assert coco_mask.decode(masks.encode(guess)).sum() == guess.sum()
