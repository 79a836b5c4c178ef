"""Commands of the trained model: what they refuse before they load one."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.commands.main import app


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", ["t2m", "imagine"])
def test_how_many_motions_are_drawn_is_checked_before_a_model_is_loaded(
    command: str, tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    result = _run(command, "a person waves", "--best-of", "0", "--model", absent)
    assert result.exit_code == 2
    assert "--best-of" in result.output


def test_several_likeliest_answers_are_refused(tmp_path: Path) -> None:
    asked = ("t2m", "a person waves", "--temperature", "0", "--model", tmp_path / "absent")
    result = _run(*asked, "--best-of", "3")
    assert isinstance(result.exception, ValueError)
    assert "expected 1 at temperature 0, where all answers are the same, found 3" in str(
        result.exception
    )
    # Not asked for several, the likeliest answer is one: what is missing then is the model.
    assert "model.json" in str(_run(*asked).exception)
