"""Prompts as text files."""

from pathlib import Path

import pytest

from annotators.chat.protocol import Jpeg
from annotators.texts.prompts import load_prompt, prompts_digest


def test_an_id_tells_the_text(tmp_path: Path) -> None:
    own = load_prompt("repair")
    assert own.prompt_id.startswith("repair-")
    assert load_prompt("repair", tmp_path) == own
    (tmp_path / "repair.txt").write_text("Again:\n{problems}")
    other = load_prompt("repair", tmp_path)
    assert other.prompt_id != own.prompt_id
    assert (other.system, other.fill_user(problems="x")) == ("", "Again:\nx")
    assert prompts_digest(tmp_path) != prompts_digest()


def test_values_are_text_and_no_marks() -> None:
    prompt = load_prompt("repair")
    assert "{problems}" in prompt.fill_user(problems="{problems}")


def test_pictures_stand_where_they_are_marked() -> None:
    picture = Jpeg(b"jpeg", 8, 8)
    parts = load_prompt("clip_change").fill_parts(
        [("0.0 s:", picture), ("1.0 s:", picture)],
        people="",
        previous="",
        start_s="0.0",
        end_s="1.0",
    )
    question = "\nWhat has moved between 0.0 s and 1.0 s?\n"
    assert parts == ("0.0 s:", picture, "1.0 s:", picture, question)


def test_invalid_prompt_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "repair.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"repair\.txt: expected a prompt as UTF-8 text"):
        load_prompt("repair", tmp_path)
    (tmp_path / "repair.txt").write_text("{wrong}")
    error = r"expected only the placeholders \['problems'\], found \{wrong\}"
    with pytest.raises(ValueError, match=error):
        load_prompt("repair", tmp_path).fill_user(problems="x")
