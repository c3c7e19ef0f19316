"""A run's folder: what is ours, what is refused, and that nothing is ever deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from rrsis_bench.errors import UsageError
from rrsis_bench.run.differences import changes
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import MARK
from rrsis_bench.run.start import checkpoint_to_continue

THEIRS = ("checkpoints/thesis.ckpt", "events.out.tfevents.1", "config.yaml", "metrics.csv", "notes.txt", "result.json")


def fill(folder: Path, *names: str, content: str = "mine") -> dict[str, str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return dict.fromkeys(names, content)


def held(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("names", [THEIRS, *((name,) for name in THEIRS)], ids=" ".join)
@pytest.mark.parametrize("resume", [None, "auto"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_user_s_folder_is_refused_whatever_is_asked(
    tmp_path: Path, names: tuple[str, ...], resume: str | None, overwrite: bool
) -> None:
    before = fill(tmp_path, *names)
    with pytest.raises(UsageError, match="did not write"):
        checkpoint_to_continue(RunFolder(tmp_path), resume, overwrite)
    with pytest.raises(UsageError, match="did not write"):
        RunFolder(tmp_path).claim()
    assert held(tmp_path) == before


def test_a_file_in_the_folder_s_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        RunFolder(path).check_usable()


def test_an_empty_folder_and_the_notes_of_a_sweep_are_no_obstacle(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.check_usable()
    fill(folder.path, "cell.json", "cell.log", "cell.lock")
    folder.claim()
    assert (folder.path / MARK).is_file()
    assert folder.is_ours()


def test_a_run_from_before_there_was_a_mark_is_ours(tmp_path: Path) -> None:
    fill(tmp_path, "checkpoints/last.ckpt")
    assert not RunFolder(tmp_path).is_ours()
    fill(tmp_path, "config.yaml", content="model: {method: lavt}")
    assert RunFolder(tmp_path).is_ours()


def test_only_best_is_no_reason_to_start_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim()
    fill(tmp_path, "checkpoints/best.ckpt")
    for resume in ("auto", None):
        with pytest.raises(UsageError, match=r"best\.ckpt|unfinished"):
            checkpoint_to_continue(folder, resume, False)
    assert checkpoint_to_continue(folder, None, True) is None
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def test_a_checkpoint_of_another_run_does_not_continue_over_the_folder_s_own(tmp_path: Path) -> None:
    folder, other = RunFolder(tmp_path / "run"), tmp_path / "other" / "checkpoints" / "last.ckpt"
    fill(tmp_path, "other/checkpoints/last.ckpt")
    assert checkpoint_to_continue(folder, other, False) == other
    folder.claim()
    fill(folder.path, "checkpoints/last.ckpt", "result.json")
    with pytest.raises(UsageError, match="holds a finished run"):
        checkpoint_to_continue(folder, other, False)
    assert checkpoint_to_continue(folder, other, True) == other
    for own in ("auto", folder.last):
        assert checkpoint_to_continue(folder, own, False) == folder.last
        with pytest.raises(UsageError, match="leave one of them out"):
            checkpoint_to_continue(folder, own, True)


def test_checkpoints_on_another_disk_are_the_folder_s_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim()
    fill(tmp_path, "disk/last.ckpt")
    folder.checkpoints.symlink_to(tmp_path / "disk")
    assert checkpoint_to_continue(folder, tmp_path / "disk" / "last.ckpt", False) == tmp_path / "disk" / "last.ckpt"


def test_what_is_set_aside_is_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim()
    before = fill(folder.path, "checkpoints/best.ckpt", "result.json", "config.yaml", "mine.txt", "cell.log")
    first = folder.set_aside()
    assert first == tmp_path / "run.replaced-1"
    assert held(first) == {name.replace("result.json", "result.json.replaced"): text for name, text in before.items()}
    assert folder.content() == [folder.path / MARK]
    assert folder.set_aside() is None
    fill(folder.path, "config.yaml")
    assert folder.set_aside() == tmp_path / "run.replaced-2"


def test_changes_that_matter_are_named_and_others_are_not() -> None:
    saved = {"seed_everything": 0, "data": {"num_workers": 1, "root": "a", "limit": None}, "model": {"lr": 1.0}}
    now = {"seed_everything": 0, "data": {"num_workers": 4, "root": "b", "limit": None}, "model": {"lr": 1.0}}
    assert changes(saved, now) == []
    assert changes(saved, {**now, "model": {"lr": 2.0}}) == ["model.lr: 1.0 -> 2.0"]
    assert changes(saved, {**now, "model": {"lr": 1.0, "new": False}}) == []
    assert changes(saved, {**now, "model": {"lr": 1.0, "new": True}}) == ["model.new: None -> True"]
    assert changes({"a": (1, 2)}, {"a": [1, 2]}) == []
