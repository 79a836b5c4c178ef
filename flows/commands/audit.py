"""The command that audits a text and motion dataset, and cleans a copy of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.commands.options import Json, Quiet, print_json, refuse_file, show
from flows.commands.running import Assignments, ConfigFile, read_config
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.progress_bars import progress_bars

if TYPE_CHECKING:
    from evaluation.audit.findings import Fix
    from evaluation.audit.run import AuditConfig

_AUDIT: Final = Path("audit")
_BROWSER_URL: Final = "http://127.0.0.1:8765"

audit_app = typer.Typer()


@audit_app.command()
def audit(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Dataset of ours, folder in HumanML3D's layout, or folder of BVH with texts."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of report.html, report.json and findings.parquet.")
    ] = _AUDIT,
    fix: Annotated[
        Path | None,
        typer.Option(
            help="Also write a cleaned copy into this new folder, with fixes.parquet. The dataset "
            "is never changed."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Audit the first motions only.", min=0)] = 0,
    examples: Annotated[
        int, typer.Option(help="Examples of each kind with pictures.", min=0, max=100)
    ] = 6,
    browser_url: Annotated[
        str,
        typer.Option(
            help="Address of `avatargpt browse`, to which the findings of our datasets link."
        ),
    ] = _BROWSER_URL,
    config: ConfigFile = None,
    assignments: Assignments = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find what is wrong in a text and motion dataset. Resumable.

    Exit codes: 0 no finding of severity error, 1 some, 2 usage error, 130 interrupted.
    """
    from data.workers.unexpected import UnexpectedErrors  # noqa: PLC0415 - slow, rarely needed
    from evaluation.audit.fixing import require_new, write_fixed  # noqa: PLC0415
    from evaluation.audit.page import audit_figures, audit_page  # noqa: PLC0415
    from evaluation.audit.run import run_audit, told  # noqa: PLC0415
    from evaluation.pages.writing import write_report  # noqa: PLC0415

    folder = out.expanduser()
    refuse_file(folder)
    options = {"dataset": str(dataset.expanduser()), "out": str(folder), "limit": limit}
    chosen = _chosen(config, assignments, options)
    copy = fix.expanduser() if fix is not None else None
    if copy is not None:
        require_new(copy, chosen.dataset)
        if limit:
            raise ValueError(
                f"--fix: expected an audit of all motions, found --limit {limit}. Remedy: leave "
                "out --limit, because a copy of a part would be taken for the whole."
            )

    def report(stage: str, done: int, total: int) -> None:
        report_progress(StageProgress(stage, done, total))

    unexpected = UnexpectedErrors()
    changes: dict[Fix, int] = {}
    with progress_bars(quiet=quiet):
        found = run_audit(chosen, report, unexpected)
        page = audit_page(found, examples=examples, browser_url=browser_url)
        file = write_report(folder, page, audit_figures(found))
        if copy is not None:
            changes = write_fixed(found, copy, lambda done, total: report("copy", done, total))
    if as_json:
        figures = audit_figures(found).model_dump(mode="json")
        print_json({**figures, "report": file, "fixes": changes})
    else:
        show(told(found))
        for kind, count in found.kinds.items() if not quiet else ():
            show(f"{count:>9,}  {kind}")
        show(f"{file}: report; findings.parquet beside it has every finding")
        if copy is not None:
            did = ", ".join(f"{count:,} x {what}" for what, count in changes.items())
            show(f"{copy}: cleaned copy: {did or 'nothing to change'}")
    unexpected.require_none()
    if found.errors:
        raise typer.Exit(1)


def _chosen(
    file: Path | None, assignments: list[str] | None, options: dict[str, Any]
) -> "AuditConfig":
    """Return the configuration that a file, ``--set`` and the other options give.

    Raises:
        ValueError: the file cannot be read, a name is not a field, or a value is not valid.
    """
    from data.presets import check_names, merge, parse_assignments  # noqa: PLC0415
    from evaluation.audit.run import AuditConfig  # noqa: PLC0415
    from flows.configuration import resolve_config  # noqa: PLC0415

    values = read_config(file)
    check_names(AuditConfig, values)
    assigned = parse_assignments(AuditConfig, assignments or ())
    merged = merge(AuditConfig, merge(AuditConfig, values, assigned), options)
    return AuditConfig.model_validate(resolve_config(AuditConfig, {}, "", merged))
