"""`rrsis-bench predict` end to end, on a run that `rrsis-bench fit` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rrsis_bench.cli import main
from rrsis_bench.data import masks
from rrsis_bench.engine.load import TrainedMethod, load_run
from rrsis_bench.engine.predict import segment
from rrsis_bench.run.folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "run"
    limits = "--data.limit={train: 64, val: 8, test: 8}"
    words = ["fit", "--method", "s4eca", "--out", str(folder), limits, "--trainer.max_epochs=1", "--trainer", "cpu"]
    words.append("--model.schedule.warmup_steps=0")
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def loaded(run: Path) -> TrainedMethod:
    return load_run(RunFolder(run), "cpu")


def picture(path: Path, height: int = 100, width: int = 140) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def predict(run: Path, image: Path, out: Path, *more: str, text: str = "the white airplane on the left") -> int:
    words = ["predict", "--run", str(run), "--image", str(image), "--text", text, "--out", str(out)]
    return main([*words, "--device", "cpu", *more])


def test_mask_overlay_and_rle(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(run, picture(tmp_path / "scene.png"), tmp_path / "out") == 0
    out = capsys.readouterr().out
    (found,) = (tmp_path / "out").glob("scene_the-white-airplane-on-the-left_*.json")
    stem = found.with_suffix("")
    mask = np.asarray(Image.open(f"{stem}_mask.png"))
    assert mask.shape == (100, 140)
    assert set(np.unique(mask)) <= {0, 255}
    facts = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert facts["rle"]["size"] == [100, 140]
    assert (masks.decode(facts["rle"]) * 255 == mask).all()
    assert facts["area"] == np.count_nonzero(mask)
    assert facts["method"]["name"] == "s4eca"
    assert facts["threshold"] == 0.5
    assert (facts["mean_probability"] is None) == facts["empty"] == ("nothing found" in out)
    overlay = np.asarray(Image.open(f"{stem}_overlay.png"))
    assert overlay.shape[1] >= 512
    assert f"{stem}_overlay.png" in out


def test_an_empty_prediction_is_said_and_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rrsis_bench.engine import load

    genuine = load.load_run

    def pessimist(*args: object) -> TrainedMethod:
        result = genuine(*args)  # type: ignore[arg-type]
        result.method.register_forward_hook(lambda module, inputs, output: type(output)(output.logits * 0 - 9))
        return result

    monkeypatch.setattr(load, "load_run", pessimist)
    assert predict(run, picture(tmp_path / "a.png"), tmp_path) == 0
    assert "nothing found" in capsys.readouterr().out
    (found,) = tmp_path.glob("a_*.json")
    facts = json.loads(found.read_text(encoding="utf-8"))
    assert facts["empty"] is True
    assert facts["mean_probability"] is None


def test_one_tile_is_the_scored_prediction(loaded: TrainedMethod) -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    whole = segment(loaded.method, image, "the red ship")
    assert whole.tiles == 1
    again = segment(loaded.method, image, "  the   red ship ")
    assert (whole.mask == again.mask).all()


def test_large_images_are_tiled(
    run: Path, loaded: TrainedMethod, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (300, 700, 3), dtype=np.uint8)
    one = segment(loaded.method, image, "the red ship", tile=128, batch_size=1)
    many = segment(loaded.method, image, "the red ship", tile=128, batch_size=7)
    assert one.tiles == many.tiles == 3 * 7
    assert one.mask.shape == (300, 700)
    assert np.mean(one.mask != many.mask) < 1e-3
    assert predict(run, picture(tmp_path / "big.jpg", 300, 700), tmp_path) == 0
    assert "tiles" in capsys.readouterr().err


def test_geotiff_gives_a_mask_on_the_map_and_polygons(run: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    values = np.random.default_rng(0).integers(0, 256, (3, 64, 80), dtype=np.uint8)
    transform = rasterio.transform.from_origin(270_000, 3_300_000, 0.5, 0.5)
    profile = {"driver": "GTiff", "height": 64, "width": 80, "count": 3, "dtype": "uint8", "crs": "EPSG:32615"}
    with rasterio.open(tmp_path / "geo.tif", "w", transform=transform, **profile) as opened:
        opened.write(values)
    assert predict(run, tmp_path / "geo.tif", tmp_path / "out") == 0
    (mask,) = (tmp_path / "out").glob("*_mask.tif")
    with rasterio.open(mask) as opened:
        assert opened.transform == transform
        assert opened.crs.to_epsg() == 32615
        on_map = opened.read(1)
    (plain,) = (tmp_path / "out").glob("*_mask.png")
    assert (np.asarray(Image.open(plain)) == on_map).all()
    (shapes,) = (tmp_path / "out").glob("*.geojson")
    collection = json.loads(shapes.read_text(encoding="utf-8"))
    assert sum(feature["properties"]["pixels"] for feature in collection["features"]) == np.count_nonzero(on_map)
    assert predict(run, tmp_path / "geo.tif", tmp_path / "plain", "--plain") == 0
    assert not list((tmp_path / "plain").glob("*.geojson"))


def test_mistakes_are_one_line_each(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = picture(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(picture(tmp_path / "whole.jpg").read_bytes()[:2000])
    (tmp_path / "norun").mkdir()
    capsys.readouterr()
    cases = [
        ("none.png", predict(run, tmp_path / "none.png", tmp_path)),
        ("text.png", predict(run, tmp_path / "text.png", tmp_path)),
        ("empty.jpg", predict(run, tmp_path / "empty.jpg", tmp_path)),
        ("cut.jpg", predict(run, tmp_path / "cut.jpg", tmp_path)),
        (str(tmp_path), predict(run, tmp_path, tmp_path)),
        ("--text", predict(run, good, tmp_path, text="  ")),
        ("norun", predict(tmp_path / "norun", good, tmp_path)),
        ("nowhere", predict(tmp_path / "nowhere", good, tmp_path)),
        ("--tile", predict(run, good, tmp_path, "--tile", "4")),
        ("--tile", predict(run, good, tmp_path, "--tile", "0")),
        ("--overlap", predict(run, good, tmp_path, "--overlap", "1.5")),
        ("--batch-size", predict(run, good, tmp_path, "--batch-size", "0")),
        ("--bands", predict(run, good, tmp_path, "--bands", "1,2")),
        ("4", predict(run, good, tmp_path, "--bands", "4,3,2")),
        ("none.ckpt", predict(run, good, tmp_path, "--ckpt", str(tmp_path / "none.ckpt"))),
    ]
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == len(cases), lines
    for (named, code), line in zip(cases, lines, strict=True):
        assert code in {1, 2, 3}
        assert named in line
        assert line.startswith("rrsis-bench: error: ")
    assert not list(tmp_path.glob("good_*"))


def test_several_images_and_expressions_are_listed_in_one_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scenes").mkdir()
    for name in ("a", "b"):
        picture(tmp_path / "scenes" / f"{name}.png")
    (tmp_path / "texts.txt").write_text("the red ship\n\nthe bridge\n", encoding="utf-8")
    scenes, out = tmp_path / "scenes", tmp_path / "out"
    words = ["predict", "--run", str(run), "--out", str(out), "--device", "cpu", "--texts", str(tmp_path / "texts.txt")]
    assert main([*words, "--image", str(scenes)]) == 0
    assert "all 4 predictions are listed in" in capsys.readouterr().out
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(Path(line["image"]).name, line["text"]) for line in lines] == [
        (image, text) for image in ("a.png", "b.png") for text in ("the red ship", "the bridge")
    ]
    for line in lines:
        assert all((out / name).is_file() for name in line["files"])
        (alone,) = (name for name in line["files"] if name.endswith(".json"))
        facts = json.loads((out / alone).read_text(encoding="utf-8"))
        assert {key: value for key, value in line.items() if key != "files"} == facts
    # Another call adds its line, and a repeated one replaces its own.
    assert main([*words[:-2], "--image", str(scenes / "a.png"), "--text", "a tank"]) == 0
    assert main([*words, "--image", str(scenes / "*.png"), "--overwrite"]) == 0
    assert len((out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 5


def test_words_without_end_or_meaning_are_fine(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(run, picture(tmp_path / "a.png"), tmp_path / "1", text="ship " * 1000) == 0
    assert "longer than the method reads" in capsys.readouterr().err
    assert predict(run, tmp_path / "a.png", tmp_path / "2", text="??? 船") == 0
    assert len(list((tmp_path / "2").iterdir())) == 3
