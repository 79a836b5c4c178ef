"""Commands that keep datasets in order: versions and their collection."""

from typing import Annotated

import typer

from flows.commands.options import DatasetFolder, Json, print_json, show, size_text

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
