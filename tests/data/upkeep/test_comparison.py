"""Comparison of datasets and versions: what was added, removed and changed, in which columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.writer import open_writer, rows_table
from data.upkeep import comparison
from data.upkeep.comparison import ChangedRow, compare_datasets
from flows.commands.main import app


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    empty = dict.fromkeys(SCHEMAS[name].names)
    return rows_table(name, [{**empty, **row} for row in rows])


def _clip(number: int, **values: Any) -> dict[str, Any]:
    return {
        "clip_id": f"c{number}",
        "video_id": f"v{number}",
        "issues": [],
        "quality": 1.0,
        **values,
    }


def _write(root: Path, *parts: list[dict[str, Any]], recipe: Any = None) -> Dataset:
    with open_writer(root, recipe or {}) as writer:
        for rows in parts:
            writer.publish({"clips": _table("clips", rows)})
    return Dataset(root)


def test_differences_are_told_by_key_and_column(tmp_path: Path) -> None:
    first = _write(tmp_path / "a", [_clip(number) for number in range(600)])
    changed = {7: {"quality": 0.5}, 8: {"quality": 0.5, "issues": ["x"]}, 599: {"decoder": "d"}}
    rows = [_clip(number, **changed.get(number, {})) for number in range(2, 603)]
    # Neither the order of rows nor the parts in which they lie count.
    second = _write(tmp_path / "b", rows[300:], rows[:300], recipe={"clips": 1})
    found = compare_datasets(first, second)
    clips = found.tables["clips"]
    assert (clips.rows, clips.added, clips.removed, clips.changed) == ((600, 601), 3, 2, 3)
    assert clips.columns == {"decoder": 1, "quality": 2, "issues": 1}
    assert clips.added_examples == [{"clip_id": f"c{number}"} for number in (600, 601, 602)]
    assert clips.removed_examples == [{"clip_id": "c0"}, {"clip_id": "c1"}]
    told = {row.key["clip_id"]: row.columns for row in clips.changed_examples}
    assert told["c8"] == {"quality": ("1.0", "0.5"), "issues": ("[0]: nothing", "[0]: 'x'")}
    assert told["c599"] == {"decoder": ("None", "'d'")}
    assert found.recipe == [("clips", "nothing", 1)]
    assert not found.is_equal
    less = compare_datasets(first, second, ignore=["quality", "issues"], examples=1)
    assert less.tables["clips"].columns == {"decoder": 1}
    assert less.tables["clips"].changed_examples == [
        ChangedRow({"clip_id": "c599"}, {"decoder": ("None", "'d'")})
    ]
    assert len(less.tables["clips"].added_examples) == 1
    with pytest.raises(ValueError, match=r"expected columns of the tables, found nothing\. Remedy"):
        compare_datasets(first, second, ignore=["nothing"])


def test_long_values_are_told_where_they_differ(tmp_path: Path) -> None:
    same = "x" * 500
    first = _write(tmp_path / "a", [_clip(1, camera=f"{same}one{same}", issues=["a", same + "b"])])
    second = _write(tmp_path / "b", [_clip(1, camera=f"{same}two{same}", issues=["a", same + "c"])])
    (row,) = compare_datasets(first, second).tables["clips"].changed_examples
    assert row.columns["camera"] == tuple(
        f"…{'x' * 40}{text}{'x' * 77}…" for text in ("one", "two")
    )
    assert row.columns["issues"] == tuple(f"[1]: …{'x' * 40}{text}'" for text in ("b", "c"))


def test_rows_with_one_key_are_counted(tmp_path: Path) -> None:
    first = _write(tmp_path / "a", [_clip(1), _clip(1), _clip(1)])
    second = _write(tmp_path / "b", [_clip(1), _clip(1)])
    clips = compare_datasets(first, second).tables["clips"]
    assert (clips.added, clips.removed, clips.changed) == (0, 1, 0)


def test_parts_in_common_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, [_clip(1)], [_clip(2)], [_clip(3)])
    with open_writer(tmp_path, {}) as writer:
        writer.publish({}, replace_videos=["v2"])
        writer.publish({"clips": _table("clips", [_clip(4)])})
    opened: list[str] = []
    open_part = comparison.open_part

    def counted(part: Path) -> Any:
        opened.append(part.name)
        return open_part(part)

    monkeypatch.setattr(comparison, "open_part", counted)
    found = compare_datasets(Dataset(tmp_path, version=3), Dataset(tmp_path))
    assert (found.tables["clips"].added, found.tables["clips"].removed) == (1, 1)
    assert set(opened) == {"part-000002.parquet", "part-000005.parquet"}
    assert compare_datasets(Dataset(tmp_path), Dataset(tmp_path)).is_equal


def test_the_command_tells_and_exits_as_diff_does(tmp_path: Path) -> None:
    root = tmp_path / "a"
    _write(root, [_clip(1)], [_clip(2, quality=0.5)])

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["diff", *map(str, arguments)])
        return result.exit_code, result.output

    code, told = run(root, "--version", 1)
    assert code == 1
    assert told.splitlines() == ["clips: 1 rows added, 0 removed, 0 changed", "  + clip_id=c2"]
    code, told = run(root, root)
    assert (code, told) == (0, "equal: 2 rows in 1 tables\n")
    code, told = run(root, "--version", 2, "--second-version", 1, "--json")
    assert code == 1
    assert json.loads(told)["equal"] is False
    assert json.loads(told)["tables"]["clips"]["removed_examples"] == [{"clip_id": "c2"}]
    _write(tmp_path / "b", [_clip(1), _clip(2)])
    code, told = run(root, tmp_path / "b")
    assert code == 1
    assert "  ~ clip_id=c2" in told
    assert "      quality: 0.5 -> 1.0" in told
    assert isinstance(CliRunner().invoke(app, ["diff", str(root)]).exception, ValueError)
