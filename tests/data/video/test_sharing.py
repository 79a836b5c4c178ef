"""Shares of the sources: whole, disjoint, the same on every machine."""

import shutil
from pathlib import Path

import pytest

from data.video.sharing import Share, parse_share, take_share
from data.video.sources import discover_videos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "one machine"
    for number in range(40):
        # Names alone say nothing: cameras call every file the same.
        file = folder / f"camera {number % 20}" / "video.mp4"
        if number >= 20:
            file = file.with_name(f"video {number}.mp4")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * (number + 1))
    return folder


def _names(folder: Path, shard: str) -> list[str]:
    found = take_share(discover_videos([str(folder), "missing.mp4"]), shard)
    items = (*found.files, *(Path(one.item) for one in found.rejections))
    return [str(path.relative_to(folder)) if path.is_file() else path.name for path in items]


def test_shares_are_disjoint_and_whole_and_the_same_elsewhere(folder: Path, tmp_path: Path) -> None:
    shares = [_names(folder, f"{number}/4") for number in (1, 2, 3, 4)]
    everything = [name for names in shares for name in names]
    assert len(everything) == len(set(everything)) == 41
    assert min(map(len, shares)) >= 4
    elsewhere = shutil.copytree(folder, tmp_path / "another machine" / "videos")
    assert [_names(elsewhere, f"{number}/4") for number in (1, 2, 3, 4)] == shares
    # More files move none.
    (elsewhere / "more.mp4").write_bytes(b"x")
    assert set(shares[1]) <= set(_names(elsewhere, "2/4"))


@pytest.mark.parametrize(
    "shard", ["0/16", "17/16", "a/b", "3", "3/0", "-1/4", "1/2/3", "", "1.5/2"]
)
def test_what_is_no_share_is_refused(shard: str) -> None:
    with pytest.raises(ValueError, match=r"expected NUMBER/COUNT .* such as 3/16, found '.*Remedy"):
        parse_share(shard)


def test_a_share_without_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    found = discover_videos([str(tmp_path)])
    empty = [n for n in (1, 2, 3) if not Share(n, 3).holds(found.files[0])]
    assert len(empty) == 2
    with pytest.raises(ValueError, match=r"share ./3, found none among 1 files"):
        take_share(found, f"{empty[0]}/3")
