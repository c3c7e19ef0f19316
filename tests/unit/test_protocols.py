"""One list of protocols: what is in it, every method is scored by; which one chooses is said by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from helpers.batches import make_batch, smooth_logits
from helpers.resolved import configured
from helpers.results import make_table, write
from rrsis_bench import config, registry
from rrsis_bench.errors import UsageError
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.protocols import DEFAULT, PROTOCOLS, Protocol, View, expand, of_masks, views
from rrsis_bench.results.maintain import check
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder

ORDER = ["native-v1", "paper-lavt480-v1", "paper-rsrefseg2-v1", "paper-detris-v1", "paper-rs2sam2-v1", "paper-c3vg-v1"]


def protocols_of(*choice, **named) -> list[str]:
    return configured(*choice, **named)["model"]["protocols"]


def test_the_chooser_comes_first_and_the_others_follow_in_the_order_of_the_list():
    assert expand() == expand("native-v1") == ORDER
    for number, name in enumerate(ORDER):
        assert expand(name) == [name, *ORDER[:number], *ORDER[number + 1 :]]
    assert expand("paper-detris-v1", ["native-v1"]) == ["paper-detris-v1", "native-v1"]
    assert expand(None, ["paper-detris-v1", "native-v1"]) == ["paper-detris-v1", "native-v1"]


def test_every_list_holds_the_protocol_that_boards_rank_by():
    assert expand(None, ["paper-detris-v1"]) == ["paper-detris-v1", "native-v1"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("native",), "unknown protocol 'native'.*Did you mean 'native-v1'"),
        ((None, ["native-v1", "paper"]), "unknown protocol 'paper'"),
        ((None, []), "score_by must be 'all' or a list"),
        ((None, "native-v1"), "score_by must be 'all' or a list"),
        ((None, [480]), "score_by must be 'all' or a list"),
        ((None, None), "score_by must be 'all' or a list"),
    ],
)
def test_what_names_no_protocol_is_refused(choice, message):
    with pytest.raises(UsageError, match=message):
        expand(*choice)


def test_a_recipe_and_a_variant_choose_and_a_flag_wins_over_both():
    assert protocols_of("lavt", "rrsisd") == expand("paper-lavt480-v1")
    assert protocols_of("lavt", "rrsisd", recipe="suite") == ORDER
    assert protocols_of("rsrefseg2", "rrsisd", "official") == expand("paper-rsrefseg2-v1")
    for choice in (("lavt", "rrsisd"), ("rsrefseg2", "rrsisd", "official"), ("s4eca", "tiny")):
        for name in ORDER:
            assert protocols_of(*choice, protocol=name) == expand(name)


def test_files_may_list_what_to_score_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = config.method_config("lavt")
    own["common"]["model"]["score_by"] = ["paper-detris-v1", "native-v1"]
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "lavt.yaml").write_text(yaml.safe_dump(own))
    monkeypatch.setenv("RRSIS_CONFIGS", str(tmp_path))
    assert protocols_of("lavt", "rrsisd") == ["paper-lavt480-v1", "paper-detris-v1", "native-v1"]
    assert protocols_of("lavt", "rrsisd", recipe="suite") == ["native-v1", "paper-detris-v1"]
    model = configured("lavt", "rrsisd")["model"]
    assert not {"select_by", "score_by"} & set(model), "the task takes the list only"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Protocol:
    """A protocol of its own view, added where all others stand and nowhere else."""
    protocol = Protocol("toy-v1", View("half", (20, 30), "bilinear", 0.25), ">", "zero")
    monkeypatch.setitem(PROTOCOLS, protocol.name, protocol)
    return protocol


def test_a_further_protocol_scores_every_method_and_its_flag_is_known(toy: Protocol):
    for method in sorted(registry.BUILT_IN):
        assert set(protocols_of(method)) == {*ORDER, "toy-v1"}
    assert protocols_of("s4eca", protocol="toy-v1") == ["toy-v1", *ORDER]
    assert "toy-v1" not in of_masks()


def test_a_further_protocol_is_counted_written_read_and_scored(toy: Protocol, tmp_path: Path):
    batch, logits = make_batch([(50, 70), (64, 64)]), smooth_logits(2, 24, 24)
    counted = count(logits, batch, (32, 32), views(PROTOCOLS))
    at_size = torch.nn.functional.interpolate(logits, (20, 30), mode="bilinear", align_corners=False).sigmoid() > 0.25
    assert counted[:, -1, 1].tolist() == at_size.flatten(1).sum(1).tolist()
    table = make_table(quality=0.7)
    assert table.views[-1] == "half"
    folder = RunFolder(write(tmp_path, table=table))
    again = read_samples(folder)
    assert again.views == table.views
    assert np.array_equal(again.counts, table.counts)
    assert check(folder.result_path) == []
    metrics = folder.result()["metrics"]
    assert set(metrics) == {*ORDER, "generalised-v1", "toy-v1"}
    assert metrics["toy-v1"]["miou"]["value"] != metrics[DEFAULT]["miou"]["value"]


def test_no_two_views_share_a_name():
    """A view's name is in the column names of `samples.csv.gz`."""
    found = views(PROTOCOLS)
    assert len({view.name for view in found}) == len(found)
