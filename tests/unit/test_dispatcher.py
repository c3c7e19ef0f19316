from __future__ import annotations

import types

import pytest

from rrsis_bench import __version__, cli
from rrsis_bench.errors import DriftError, MissingResourceError, UsageError, UserError


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["help"]):
        assert cli.main(words) == 0
        out = capsys.readouterr().out
        assert all(verb in out for verb in cli.VERBS)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rrsis-bench {__version__}\n"


def test_unknown_verb_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["leaderbord"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'leaderboard'" in error
    assert "predict" in error
    assert error.count("\n") == 1


def test_unknown_flag_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["env", "--jsn"]) == 2
    assert "--jsn" in capsys.readouterr().err


def verb(monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, code: int = 0) -> None:
    def run(args: object) -> int:
        if raised is not None:
            raise raised
        return code

    module = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli, "import_module", lambda name: module)


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("x"), 1), (UsageError("x"), 2), (MissingResourceError("x"), 3), (DriftError("x"), 4)],
)
def test_exit_codes(
    error: UserError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(monkeypatch, error)
    assert cli.main(["env"]) == code
    assert capsys.readouterr().err == "rrsis-bench: error: x\n"
    with pytest.raises(UserError):
        cli.main(["env", "--debug"])


def test_interrupt_and_result(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    verb(monkeypatch, KeyboardInterrupt())
    assert cli.main(["env"]) == 130
    assert "interrupted" in capsys.readouterr().err
    verb(monkeypatch, None, 1)
    assert cli.main(["env"]) == 1
