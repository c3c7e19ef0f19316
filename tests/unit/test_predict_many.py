"""Several images and expressions in one prediction: what is asked for, and how often an image is encoded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.sound import CountsImages, Shares, Sound
from rrsis_bench.engine import predict
from rrsis_bench.engine.inputs import find_images, read_expressions
from rrsis_bench.engine.outputs import Destination, Listing
from rrsis_bench.engine.predict import segment, segment_all
from rrsis_bench.errors import UsageError

TEXTS = ["the red ship", "the bridge", "a tank on the left", "the largest car", "the pool", "a white airplane"]


def made(kind: type[Shares] | type[Sound]) -> Shares | Sound:
    torch.manual_seed(0)
    method = kind().eval()
    with torch.no_grad():
        method.head.bias.zero_()
        for parameter in (method.head.weight, method.words.weight):
            parameter.mul_(20)  # else all logits have the sign of the bias
    return method


@pytest.mark.parametrize(("tile", "tiles"), [(None, 1), (32, 12)])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_an_image_is_encoded_once_for_all_expressions(tile: int | None, tiles: int, batch_size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 64, 3), dtype=np.uint8)
    if tile is not None:
        image = np.tile(image, (1, 2, 1))[:, :100]
    sharing, plain = made(CountsImages), made(Sound)
    found = list(segment_all(sharing, image, TEXTS, tile=tile, batch_size=batch_size))
    assert isinstance(sharing, CountsImages)
    assert sharing.images == found[0].tiles == tiles
    sharing_not = list(segment_all(plain, image, TEXTS, tile=tile, batch_size=batch_size))
    for text, one, other in zip(TEXTS, found, sharing_not, strict=True):
        alone = segment(plain, image, text, tile=tile, batch_size=batch_size)
        for prediction in (one, other):
            assert np.mean(prediction.mask != alone.mask) < 1e-3
            assert prediction.mean_probability == pytest.approx(alone.mean_probability, abs=1e-3)
    assert len({one.mask.tobytes() for one in found}) > 1


def test_many_expressions_go_over_a_map_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    method = made(Shares)
    whole = list(segment_all(method, image, TEXTS, tile=32))
    monkeypatch.setattr(predict, "TOGETHER", 2 * 32 * (100 + 4 * 32))
    turns = list(segment_all(method, image, TEXTS, tile=32))
    for one, other in zip(whole, turns, strict=True):
        assert np.mean(one.mask != other.mask) < 1e-3


def test_folders_and_patterns_are_their_images(tmp_path: Path) -> None:
    names = ("b.PNG", "a.jpg", "notes.txt", "a_ship_01234567_mask.png", "a_ship_01234567_overlay.png", "x[1].png")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.tif").write_bytes(b"")
    a, b, odd = tmp_path / "a.jpg", tmp_path / "b.PNG", tmp_path / "x[1].png"
    assert find_images([tmp_path]) == [a, b, odd]
    assert find_images([b, tmp_path / "*.jpg", tmp_path]) == [b, a, odd]
    assert find_images([tmp_path / "**" / "*.tif"]) == [tmp_path / "deep" / "c.tif"]
    assert find_images([odd]) == [odd]
    assert find_images([tmp_path / "none.png"]) == [tmp_path / "none.png"]
    with pytest.raises(UsageError, match="no file matches"):
        find_images([tmp_path / "*.webp"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no image"):
        find_images([tmp_path / "empty"])


def test_expressions_of_a_file_are_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffthe red ship\r\n\r\n  船 \r\n".encode())
    assert read_expressions(path) == ["the red ship", "船"]
    for content, said in ((b"\n \n", "holds no expression"), (b"\xff\xfe", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=said):
            read_expressions(path)
    with pytest.raises(UsageError, match="No such file"):
        read_expressions(tmp_path / "none.txt")


def test_a_listing_keeps_other_lines_and_replaces_its_own(tmp_path: Path) -> None:
    for turn, texts in enumerate((["ship", "bridge"], ["bridge", "tank"])):
        listing = Listing(tmp_path)
        for text in texts:
            listing.add({"text": text, "turn": turn}, [Destination.of(tmp_path, Path("a.png"), text).file("_mask.png")])
        listing.write()
    lines = [json.loads(line) for line in Listing(tmp_path).path.read_text(encoding="utf-8").splitlines()]
    assert [(line["text"], line["turn"]) for line in lines] == [("ship", 0), ("bridge", 1), ("tank", 1)]
    Listing(tmp_path).path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no listing of predictions"):
        Listing(tmp_path)


def test_neither_text_nor_texts_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one --text or --texts FILE"):
        next(predict.predict_files(tmp_path, [tmp_path / "a.png"], []))
