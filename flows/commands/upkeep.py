"""Commands that keep datasets in order: versions, compaction, comparison, merge, exports."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from data.remote.addresses import is_s3
from flows.commands.options import (
    DatasetFolder,
    Json,
    Quiet,
    in_folder,
    print_json,
    show,
    size_text,
)
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.progress_bars import progress_bars

if TYPE_CHECKING:
    from data.upkeep.comparison import Difference

upkeep_app = typer.Typer()


@upkeep_app.command()
def versions(dataset: DatasetFolder, as_json: Json = False) -> None:
    """List the versions of a dataset that can be read, and what older ones hold on the disk."""
    from data.store.versions import read_versions  # noqa: PLC0415 - slow, and not always needed

    found = read_versions(dataset.expanduser())
    if as_json:
        print_json({"dataset": dataset, "versions": found})
        return
    for version in found:
        span = (
            f"{version.number}"
            if version.oldest == version.number
            else f"{version.oldest} to {version.number}, which only added rows"
        )
        held = f"replaced {version.replaced_at}, holds {size_text(version.held_bytes)}"
        rows = ", ".join(f"{count:,} {name}" for name, count in version.rows.items() if count)
        show(f"version {span}: {version.updated_at}, {held if version.replaced_at else 'current'}")
        show(f"  {rows or 'no rows'}")
    if not found:
        show(f"{dataset}: nothing published")


@upkeep_app.command()
def collect(
    dataset: DatasetFolder,
    keep: Annotated[
        int, typer.Option(help="Number of the newest older versions to keep.", min=0)
    ] = 0,
    older_than: Annotated[
        float,
        typer.Option(help="Keep versions that were replaced less than this many days ago.", min=0),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Free what only older versions of a dataset hold; they can no longer be read."""
    from data.upkeep.collection import collect_versions  # noqa: PLC0415

    done = collect_versions(dataset.expanduser(), keep=keep, older_than_days=older_than)
    if as_json:
        print_json(done)
        return
    last = done.versions[-1].number if done.versions else 0
    what = f"versions up to {last} collected" if done.versions else "no version to collect"
    show(f"{dataset}: {what}, {size_text(done.freed_bytes)} freed")


@upkeep_app.command()
def compact(
    dataset: DatasetFolder,
    target_mb: Annotated[
        float, typer.Option(help="Parts get half of this size up to this size, MB.")
    ] = 128.0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Bring the parts of a dataset to a good size; rows keep their order. Resumable."""
    from data.upkeep.compaction import compact_dataset  # noqa: PLC0415 - slow, rarely needed

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("bytes", done, total))

    with progress_bars(quiet=quiet):
        done = compact_dataset(dataset.expanduser(), target_mb, report)
    if as_json:
        print_json(done)
        return
    for table, count in done.parts_before.items():
        show(f"{table}: {count} parts, now {done.parts_after[table]}")
    if done.version is None:
        show(f"{dataset}: nothing to gain")
        return
    before, after = size_text(done.bytes_before), size_text(done.bytes_after)
    show(f"{dataset}: version {done.version}, {before} rewritten to {after}")
    show(f"Next: avatargpt collect {shlex.quote(str(dataset))} frees the former parts")


@upkeep_app.command()
def merge(
    sources: Annotated[
        list[Path], typer.Argument(help="Folders of datasets of one recipe.", callback=in_folder)
    ],
    dataset: Annotated[
        Path,
        typer.Option(
            help="Folder of the result; created if missing, else extended.", callback=in_folder
        ),
    ],
    prefer: Annotated[
        Literal["first"] | None,
        typer.Option(help="Take a video or motion that differs from the first that has it."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Merge datasets of one recipe, such as the shards of several machines, into one version."""
    from data.upkeep.merging import merge_datasets  # noqa: PLC0415 - slow, rarely needed

    root = dataset.expanduser()

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("bytes", done, total))

    with progress_bars(quiet=quiet):
        folders = [source.expanduser() for source in sources]
        done = merge_datasets(folders, root, prefer=prefer, report=report)
    if as_json:
        print_json({"dataset": root, **asdict(done)})
        return
    rows = ", ".join(f"{count:,} {name}" for name, count in done.rows.items())
    show(f"{root}: {rows or 'nothing new'}")
    show(f"  {done.copied_parts} parts copied, {done.written_parts} written anew")
    if done.known:
        show(f"  {done.known:,} videos or motions of several datasets were equal and taken once")
    if done.preferred:
        some = ", ".join(done.preferred[:3])
        show(f"  {len(done.preferred):,} that differed were taken from the first: {some}")
    if done.reviews:
        show(f"  {done.reviews:,} reviews added")
    if done.reviews_left_out:
        show(
            f"  {done.reviews_left_out:,} reviews of people left out, whose rows another dataset "
            "replaced"
        )
    if len(done.licenses) > 1:
        names = ", ".join(name or "none" for name in done.licenses)
        show(f"  the card states no license, as the datasets state {names}: see avatargpt card")
    for source in done.unfinished:
        show(f"  {source} has unfinished work, which is not merged")


@upkeep_app.command(name="export-accepted")
def export_accepted(
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Argument(help="Folder of the new dataset.", callback=in_folder)],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a dataset of only what reviewers accepted or edited, with the texts they left."""
    from data.upkeep.accepted import write_accepted  # noqa: PLC0415 - slow, rarely needed

    root = out.expanduser()

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("rows", done, total))

    with progress_bars(quiet=quiet):
        rows = write_accepted(dataset.expanduser(), root, report)
    if as_json:
        print_json({"dataset": root, "rows": rows})
        return
    show(f"{root}: {', '.join(f'{count:,} {name}' for name, count in rows.items())}")


@upkeep_app.command()
def export(
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Argument(help="New folder.")],
    form: Annotated[
        Literal["webdataset", "lance"], typer.Option("--format", help="Format of the export.")
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write described people and motions as WebDataset shards or as a Lance table."""
    from data.exports.formats import export_dataset  # noqa: PLC0415 - slow, rarely needed

    if is_s3(str(out)):
        raise ValueError(
            f"{out}: expected a local folder, found an address. Remedy: export to a folder, and "
            "upload it."
        )

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("rows", done, total))

    with progress_bars(quiet=quiet):
        made = export_dataset(dataset.expanduser(), out.expanduser(), form, report)
    if as_json:
        print_json({"out": out, **asdict(made)})
        return
    splits = ", ".join(f"{count:,} {split}" for split, count in sorted(made.samples.items()))
    show(f"{out}: {splits}, {size_text(made.bytes)}")
    if made.left_out:
        show(f"  {made.left_out:,} annotations are left out: they failed, or have no joints")


@upkeep_app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="Folder of a dataset.", callback=in_folder)],
    second: Annotated[
        Path | None,
        typer.Argument(help="Folder of another one; by default the same.", callback=in_folder),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="Version of the first; by default the current one.")
    ] = None,
    second_version: Annotated[
        int | None, typer.Option(help="Version of the second; by default the current one.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column that is not compared; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which rows and reviews two datasets or versions do not share; exit with 1 if any."""
    from data.store.dataset import Dataset  # noqa: PLC0415 - slow, and not always needed
    from data.upkeep.comparison import compare_datasets  # noqa: PLC0415

    if second is None and version is None and second_version is None:
        raise ValueError(
            f"{first}: expected two datasets or versions, found one. Remedy: name another dataset, "
            "or an older version with --version."
        )
    one = Dataset(first.expanduser(), version)
    other = Dataset((second or first).expanduser(), second_version)
    found = compare_datasets(one, other, ignore=ignore or ())
    if as_json:
        print_json({"equal": found.is_equal, **asdict(found)})
    else:
        for line in _difference_lines(found):
            show(line)
    if not found.is_equal:
        raise typer.Exit(1)


def _difference_lines(found: "Difference") -> Iterator[str]:
    for path, one, other in found.recipe:
        yield f"recipe: {path} is {one!r} in the first, {other!r} in the second"
    for name, table in found.tables.items():
        if table.is_equal:
            continue
        yield (
            f"{name}: {table.added:,} rows added, {table.removed:,} removed, "
            f"{table.changed:,} changed"
        )
        for sign, rows in (("+", table.added_examples), ("-", table.removed_examples)):
            yield from (f"  {sign} {_key_text(key)}" for key in rows)
        for column, count in table.columns.items():
            yield f"  {column} differs in {count:,} rows"
        for row in table.changed_examples:
            yield f"  ~ {_key_text(row.key)}"
            for column, (before, after) in row.columns.items():
                yield f"      {column}: {before} -> {after}"
    if any(found.reviews):
        removed, added = found.reviews
        yield f"reviews: {added:,} added, {removed:,} removed"
    if found.is_equal:
        rows = sum(table.rows[0] for table in found.tables.values())
        yield f"equal: {rows:,} rows in {len(found.tables)} tables"


def _key_text(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in key.items() if value is not None)
