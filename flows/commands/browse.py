"""Commands that inspect a dataset: its page, status, rejections, integrity, report and card."""

import getpass
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from data.errors import Reason, Stage
from flows.commands.options import (
    DatasetFolder,
    Json,
    Quiet,
    print_json,
    print_json_rows,
    refuse_file,
    show,
    size_text,
)
from flows.commands.pages import LOOPBACK, Body, Host, OpenPage, Port, serve_page
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.progress_bars import progress_bars
from flows.settings import Settings, asset_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from annotators.status import DatasetStatus, Failed
    from browser.safety import Access

_REPORT: Final = Path("report")
_SHOWN_OF_REJECTION: Final = ["stage", "reason", "item", "item_id", "video_id", "detail", "remedy"]

browse_app = typer.Typer()


@browse_app.command()
def browse(
    dataset: DatasetFolder,
    port: Port = 8765,
    host: Host = LOOPBACK,
    reviewer: Annotated[
        str, typer.Option(help="Your name in reviews; by default that of your account.")
    ] = "",
    body: Body = False,
    open_page: OpenPage = True,
) -> None:
    """Open a page to see, search, judge and correct a dataset; Ctrl-C ends it."""
    from browser.app import BrowserConfig, create_app  # noqa: PLC0415 - slow, rarely needed
    from data.store.manifest import read_manifest  # noqa: PLC0415

    folder = dataset.expanduser()
    read_manifest(folder)
    three = asset_path("three")
    shape = asset_path("body") if body else None

    def make(access: "Access") -> "ASGIApp":
        config = BrowserConfig(
            dataset=folder,
            cache=Settings().cache_dir.expanduser(),
            three=three,
            access=access,
            reviewer=reviewer or _account(),
            body=shape,
        )
        return create_app(config)

    serve_page(make, host, port, f"{dataset}", open_page=open_page)


def _account() -> str:
    """Return the name of the user's account; empty if it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@browse_app.command()
def status(dataset: DatasetFolder, as_json: Json = False) -> None:
    """Show what a dataset holds, what is unfinished, what failed, and what to run next."""
    from annotators.status import read_status  # noqa: PLC0415 - slow, and not always needed

    found = read_status(dataset.expanduser())
    if as_json:
        print_json(found)
        return
    for line in _status_lines(found):
        show(line)


def _status_lines(status: "DatasetStatus") -> Iterator[str]:
    yield f"{status.dataset}: {status.kind}, {size_text(status.size_bytes)} on disk"
    if status.older_versions_bytes:
        yield f"Of it, older versions hold {size_text(status.older_versions_bytes)}."
    if status.publications:
        yield (
            f"Publications: {status.publications}, the last {status.updated_at} "
            f"by avatargpt {status.code_version}."
        )
    for role, who in status.made_with.items():
        yield f"{role.capitalize()}: {who}."
    if any(status.rows.values()):
        yield ""
        yield f"{'table':<16}{'rows':>12}{'size':>12}"
        for table, count in status.rows.items():
            if count:
                yield f"{table:<16}{count:>12,}{size_text(status.bytes_by_table[table]):>12}"
    yield from _failed_lines("Rejected", status.rejected)
    yield from _failed_lines("Texts that no model wrote", status.outcomes)
    staged = status.staged
    if staged.videos or staged.poses:
        yield ""
        yield f"Staged, not published yet ({size_text(staged.size_bytes)}):"
        yield f"  shots         {staged.videos:,} videos, cut into {staged.clips:,} clips"
        yield f"  poses         {staged.poses:,} of {staged.clips:,} clips"
        yield f"  captions      {staged.captions:,} of {staged.videos:,} videos"
        yield f"  annotations   {staged.annotations:,} of {staged.videos:,} videos"
        yield from _failed_lines("Staged as rejected", staged.rejected)
    if status.interrupted_publication:
        yield ""
        yield "A publication was interrupted; the next run completes it."
    if status.next_steps:
        yield ""
        yield "Next:"
        for command, what in status.next_steps:
            yield from (f"  {command}", f"      {what}") if command else (f"  {what}",)


def _failed_lines(title: str, failed: "tuple[Failed, ...]") -> Iterator[str]:
    if failed:
        yield ""
        yield f"{title}: {sum(one.count for one in failed):,}"
        for one in failed:
            yield f"  {one.stage:<14}{one.reason:<20}{one.count:>8,}"


@browse_app.command()
def rejections(
    dataset: DatasetFolder,
    reason: Annotated[
        list[Reason] | None, typer.Option(metavar="CODE", help="Show only this reason; repeatable.")
    ] = None,
    stage: Annotated[
        list[Stage] | None, typer.Option(metavar="STAGE", help="Show only this stage; repeatable.")
    ] = None,
    item: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Show only items whose name or ID contains this text."),
    ] = "",
    as_list: Annotated[
        bool, typer.Option("--list", help="List every item instead of groups.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show why items were rejected, grouped by stage and reason, and how to fix it."""
    from data.store.dataset import Dataset  # noqa: PLC0415 - slow, and not always needed

    chosen = {"reason": reason, "stage": stage}
    where = {name: [code.value for code in codes] for name, codes in chosen.items() if codes}
    opened = Dataset(dataset.expanduser())

    def rows() -> Iterator[dict[str, Any]]:
        for row in opened.rows("rejections", _SHOWN_OF_REJECTION, where):
            if item in (row["item"] or "") or item in row["item_id"]:
                yield row

    groups = _grouped(rows())
    total = sum(group["count"] for group in groups)
    if as_json:
        if as_list:
            print_json_rows({"total": total}, "rows", rows())
        else:
            print_json({"total": total, "groups": groups})
        return
    matching = " that match" if where or item else ""
    show(f"{dataset}: {total:,} rejections{matching}")
    for line in _rejection_lines(rows()) if as_list else _group_lines(groups):
        show(line)


def _grouped(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group rejections by stage and reason, largest group first, with one example each."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        example = {name: row[name] for name in ("item", "detail", "remedy")}
        new = {"stage": row["stage"], "reason": row["reason"], "count": 0, **example}
        groups.setdefault((row["stage"], row["reason"]), new)["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["count"])


def _group_lines(groups: list[dict[str, Any]]) -> Iterator[str]:
    for group in groups:
        yield ""
        yield f"{group['count']:>8,} x {group['reason']} ({group['stage']})"
        yield f"           e.g. {_detail(group)}"
        yield f"           Remedy: {group['remedy']}"


def _rejection_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield ""
        yield f"{row['reason']} ({row['stage']}, {row['item_id']})"
        yield f"  {_detail(row)}"
        yield f"  Remedy: {row['remedy']}"


def _detail(row: dict[str, Any]) -> str:
    """Return the detail of a rejection, preceded by its item unless the detail names it."""
    item, detail = row["item"] or "", row["detail"] or ""
    return detail if item in detail else f"{item}: {detail}"


@browse_app.command()
def report(
    dataset: DatasetFolder,
    out: Annotated[
        Path, typer.Option(help="Folder of the report: report.html and report.json.")
    ] = _REPORT,
    as_json: Json = False,
) -> None:
    """Write a report on a dataset: one page that opens without a network, and its figures."""
    from evaluation.dataset_report.page import dataset_page  # noqa: PLC0415 - slow, rarely needed
    from evaluation.dataset_report.reading import read_figures  # noqa: PLC0415
    from evaluation.pages.writing import write_report  # noqa: PLC0415

    folder = out.expanduser()
    refuse_file(folder)
    figures = read_figures(dataset.expanduser())
    file = write_report(folder, dataset_page(figures), figures)
    if as_json:
        print_json(figures)
        return
    show(f"{file}: report on {dataset}")


@browse_app.command()
def check(dataset: DatasetFolder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Verify the checksum of every part of a dataset; exit with 1 if something is damaged."""
    from data.store.check import Severity, check_dataset  # noqa: PLC0415 - slow, and not always needed

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("parts", done, total))

    with progress_bars(quiet=quiet):
        findings = check_dataset(dataset.expanduser(), report)
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    if as_json:
        print_json({"ok": not errors, "findings": findings})
    else:
        for finding in findings:
            for line in (f"{finding.severity}: {finding.file}: {finding.found}", finding.remedy):
                show(line)
        show(f"{dataset}: {f'{errors} errors' if errors else 'no errors'}")
    if errors:
        raise typer.Exit(1)


@browse_app.command()
def card(
    dataset: DatasetFolder,
    license_id: Annotated[
        str,
        typer.Option("--license", help="Hugging Face license identifier, such as cc-by-4.0."),
    ],
    as_json: Json = False,
) -> None:
    """Set the license of a dataset and rewrite its card (README.md)."""
    from data.store.writer import open_published  # noqa: PLC0415 - slow, and not always needed

    with open_published(dataset.expanduser()) as writer:
        writer.set_license(license_id)
    file = dataset.expanduser() / "README.md"
    if as_json:
        print_json({"file": file, "license": license_id})
        return
    show(f"{file}: license {license_id}")
