"""Discovery of video files by files, folders, globs and lists."""

import os
from pathlib import Path

import pandas as pd
import pytest

from data.errors import Reason, Stage
from data.video.sources import Discovery, discover_videos, path_item_id
from tests.support import corruption


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with small files named like videos, and other files."""
    root = tmp_path / "videos"
    for name in ("b.mp4", "a.MKV", "notes.txt", "cover.jpg", "deep/c.avi", "deep/er/d.webm"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.mp4").write_bytes(b"x")
    (root / "._b.mp4").write_bytes(b"resource fork")
    monkeypatch.chdir(tmp_path)
    return root


def names(discovery: Discovery, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in discovery.files]


def reasons(discovery: Discovery) -> list[tuple[str, Reason]]:
    return [(rejection.item, rejection.reason) for rejection in discovery.rejections]


def test_all_videos_of_the_corpus_are_found(videos_dir: Path) -> None:
    found = discover_videos([str(videos_dir)])
    videos = [path for path in videos_dir.iterdir() if path.suffix in {".mp4", ".mkv", ".avi"}]
    assert len(found.files) == len(videos) == 21
    assert found.rejections == ()
    assert list(found.files) == sorted(found.files)


def test_a_folder_is_searched_recursively(tree: Path) -> None:
    found = discover_videos([str(tree)])
    assert names(found, tree) == ["a.MKV", "b.mp4", "deep/c.avi", "deep/er/d.webm"]
    assert found.rejections == ()
    assert names(discover_videos([str(tree)], recursive=False), tree) == ["a.MKV", "b.mp4"]


def test_result_does_not_depend_on_order_or_repetition(tree: Path) -> None:
    sources = [str(tree / "deep"), "videos", str(tree / "b.mp4"), "videos/**/*.mp4", "gone.mp4"]
    once = discover_videos(sources)
    assert once == discover_videos([*reversed(sources), *sources])
    assert names(once, tree) == ["a.MKV", "b.mp4", "deep/c.avi", "deep/er/d.webm"]
    assert all(path.is_absolute() for path in once.files)


def test_a_file_reached_by_several_links_is_listed_once(tree: Path) -> None:
    (tree / "deep" / "link.mp4").symlink_to(tree / "b.mp4")
    (tree / "loop").symlink_to(tree)
    found = discover_videos([str(tree)])
    assert names(found, tree) == ["a.MKV", "b.mp4", "deep/c.avi", "deep/er/d.webm"]


def test_linked_folder_is_followed(tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "e.mp4").write_bytes(b"e")
    (tree / "linked").symlink_to(elsewhere)
    assert "linked/e.mp4" in names(discover_videos([str(tree)]), tree)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("videos/*.mp4", ["b.mp4"]),
        ("videos/*", ["a.MKV", "b.mp4"]),
        ("videos/**", ["a.MKV", "b.mp4", "deep/c.avi", "deep/er/d.webm"]),
        ("videos/**/*.webm", ["deep/er/d.webm"]),
        ("videos/*.jp?", []),
        ("videos/*.jpg", ["cover.jpg"]),
        ("videos/[ab].*", ["a.MKV", "b.mp4"]),
    ],
)
def test_globs_list_the_videos_that_they_match(
    tree: Path, pattern: str, expected: list[str]
) -> None:
    found = discover_videos([pattern])
    assert names(found, tree) == expected
    assert reasons(found) == ([] if expected else [(pattern, Reason.NOT_FOUND)])


def test_existing_file_with_glob_characters(tree: Path) -> None:
    path = tree / "take [1]*.mp4"
    path.write_bytes(b"1")
    assert discover_videos([str(path)]).files == (path,)


def test_named_file_needs_no_video_extension(tree: Path) -> None:
    assert discover_videos([str(tree / "cover.jpg")]).files == (tree / "cover.jpg",)


def test_what_cannot_be_a_video_is_rejected(tree: Path, tmp_path: Path) -> None:
    corruption.directory_named_video(tree / "folder.mp4")
    corruption.dangling_link(tree / "link.mp4")
    corruption.pipe(tree / "pipe.mp4")
    corruption.zero_bytes(tree / "zero.mp4")
    empty = tmp_path / "empty"
    empty.mkdir()
    found = discover_videos(["videos", "gone.mp4", "gone-folder", "none/*.mp4", "empty"])
    assert reasons(found) == [
        (str(empty), Reason.NOT_FOUND),
        (str(tmp_path / "gone-folder"), Reason.NOT_FOUND),
        (str(tmp_path / "gone.mp4"), Reason.NOT_FOUND),
        (str(tree / "folder.mp4"), Reason.NOT_A_FILE),
        (str(tree / "link.mp4"), Reason.NOT_FOUND),
        (str(tree / "pipe.mp4"), Reason.NOT_A_FILE),
        (str(tree / "zero.mp4"), Reason.EMPTY_FILE),
        ("none/*.mp4", Reason.NOT_FOUND),
    ]
    assert names(found, tree) == ["a.MKV", "b.mp4", "deep/c.avi", "deep/er/d.webm"]
    for rejection in found.rejections:
        assert rejection.stage is Stage.INGEST
        assert rejection.item in rejection.detail
        assert "expected" in rejection.detail
        assert "found" in rejection.detail
        assert rejection.remedy
    assert found.rejections[2].item_id == path_item_id(tmp_path / "gone.mp4")


def test_what_is_usable_is_told_by_the_id_it_was_rejected_with(tmp_path: Path) -> None:
    folder, pattern = tmp_path / "folder", str(tmp_path / "*" / "c*.mp4")
    missing = discover_videos([str(folder), pattern])
    folder.mkdir()
    empty = discover_videos([str(folder), pattern])
    assert missing.usable_ids == empty.usable_ids == frozenset()
    (folder / "clip.mp4").write_bytes(b"x")
    filled = discover_videos([str(folder), pattern])
    assert filled.rejections == ()
    for before in (missing, empty):
        assert {rejection.item_id for rejection in before.rejections} <= filled.usable_ids
        assert len(before.rejections) == 2


def test_folder_named_like_a_video_is_not_walked(tree: Path) -> None:
    path = corruption.directory_named_video(tree / "folder.mp4")
    (path / "inside.mp4").write_bytes(b"i")
    found = discover_videos([str(path)])
    assert found.files == ()
    assert reasons(found) == [(str(path), Reason.NOT_A_FILE)]


def test_name_that_no_table_can_hold(tree: Path) -> None:
    (tree / "caf\udce9.mp4").write_bytes(b"e")
    (rejection,) = discover_videos(["videos"]).rejections
    assert rejection.item == str(tree / r"caf\xe9.mp4")
    assert rejection.reason is Reason.UNREADABLE
    rejection.item.encode()


def test_address_is_rejected_without_its_secrets(tree: Path) -> None:
    assert tree.exists()
    found = discover_videos(["ftp://user:hunter2@host/a.mp4?sig=topsecret", "s3://x"])
    assert reasons(found) == [
        ("an address", Reason.NOT_FOUND),
        ("ftp://host/a.mp4", Reason.NOT_FOUND),
    ]
    assert "hunter2" not in repr(found)
    assert "topsecret" not in repr(found)


def test_unreadable_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read every folder, so the refusal is simulated."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = discover_videos([str(tree)])
    assert names(found, tree) == ["a.MKV", "b.mp4"]
    assert reasons(found) == [(str(tree / "deep"), Reason.UNREADABLE)]


# ------------------------------------------------------------------------------- lists


def test_text_list(tree: Path) -> None:
    path = tree / "list.txt"
    path.write_text(
        f"\ufeff# my videos\n\n b.mp4 \n{tree / 'a.MKV'}\ndeep\n*.mp4\ngone.mp4\n", encoding="utf-8"
    )
    found = discover_videos([str(path)])
    assert names(found, tree) == ["a.MKV", "b.mp4", "deep/c.avi", "deep/er/d.webm"]
    assert reasons(found) == [(str(tree / "gone.mp4"), Reason.NOT_FOUND)]


@pytest.mark.parametrize("column", ["path", "video"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_list(tree: Path, column: str, suffix: str) -> None:
    path = tree / f"list{suffix}"
    table = pd.DataFrame({"label": ["x", "y", "z"], column: ["b.mp4", None, "deep/c.avi"]})
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    found = discover_videos([str(path)])
    assert names(found, tree) == ["b.mp4", "deep/c.avi"]
    assert reasons(found) == [(f"{path} row 2", Reason.NOT_FOUND)]


def test_lists_do_not_nest(tree: Path) -> None:
    (tree / "inner.txt").write_text("b.mp4\n", encoding="utf-8")
    (tree / "outer.txt").write_text("inner.txt\n", encoding="utf-8")
    found = discover_videos([str(tree / "outer.txt")])
    assert names(found, tree) == ["inner.txt"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("l.csv", b"file,label\na.mp4,x\n", "no column `path` or `video` among file, label"),
        ("l.csv", b"", "no column `path` or `video` among no columns"),
        ("l.csv", b'path\n"unclosed\n', "unexpected end of data"),
        ("l.csv", b"path\n", "expected at least one video path"),
        ("l.csv", b"path\n\xff\xfe\n", "decode"),
        ("l.txt", b"# nothing\n\n", "expected at least one video path"),
        ("l.txt", b"\xff\xfe\x00", "decode"),
        ("l.parquet", b"not parquet at all", "found: "),
        ("missing.txt", None, "No such file"),
        ("missing.parquet", None, "No such file"),
    ],
)
def test_bad_list_stops_the_run(tree: Path, name: str, content: bytes | None, problem: str) -> None:
    path = tree / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected (a readable list|at least one)") as caught:
        discover_videos([str(path)])
    message = str(caught.value)
    assert str(path) in message
    assert problem in message


def test_list_of_numbers(tree: Path) -> None:
    path = tree / "n.parquet"
    pd.DataFrame({"path": [1, 2]}).to_parquet(path)
    with pytest.raises(ValueError, match="int instead of text in row 1"):
        discover_videos([str(path)])


def test_pipe_named_as_a_list_does_not_block(tree: Path) -> None:
    path = corruption.pipe(tree / "list.txt")
    with pytest.raises(ValueError, match="no regular file"):
        discover_videos([str(path)])


@pytest.mark.parametrize("source", ["", "  "])
def test_empty_source(source: str) -> None:
    with pytest.raises(ValueError, match="found an empty text"):
        discover_videos([source])
