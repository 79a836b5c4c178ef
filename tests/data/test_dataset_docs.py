"""The snippets of docs/dataset.md run as they stand, in a folder with a dataset of that name."""

import re
from pathlib import Path

import pytest

from data.exports.formats import export_dataset

DOCS = Path(__file__).parents[2] / "docs" / "dataset.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("library", ["numpy", "duckdb", "webdataset"])
def test_snippets_run(
    library: str, people_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    people_root.rename(tmp_path / "DATASET")
    export_dataset(tmp_path / "DATASET", tmp_path / "OUT", "webdataset")
    monkeypatch.chdir(tmp_path)
    (snippet,) = (one for one in SNIPPETS if f"import {library}" in one)
    names: dict[str, object] = {}
    exec(compile(snippet, str(DOCS), "exec"), names)  # noqa: S102 - our own documentation
    if library == "duckdb":
        assert list(names["frame"]["medium"].list[0]) == ["A person walks."] * 3  # type: ignore[index]
    if library == "webdataset":
        assert names["sample"]["__key__"] == "person-c0-0-0"  # type: ignore[index]


def test_every_snippet_is_run() -> None:
    assert len(SNIPPETS) == 3
