"""Audits of text and motion datasets as DataFrames."""

import tempfile
from pathlib import Path

import pandas as pd

from data.workers.unexpected import UnexpectedErrors
from evaluation.audit.page import audit_figures, audit_page
from evaluation.audit.run import AuditConfig, run_audit
from evaluation.pages.writing import write_report


def audit(folder: str | Path, out: str | Path | None = None, *, limit: int = 0) -> pd.DataFrame:
    """Find what is wrong in a text and motion dataset, which is not changed.

    Worker processes read the files, so a script needs ``if __name__ == "__main__":``.

    Args:
        folder: dataset of ours, folder in HumanML3D's layout, or folder of BVH with texts.
        out: folder for ``report.html`` and ``findings.parquet``; None writes neither.
        limit: number of motions to audit, the first ones; 0 audits all.

    Returns:
        One row per finding, the worst kinds first; docs/audit.md lists kinds and columns.

    Raises:
        ValueError: the folder is no dataset, or ``out`` lies in it.
        data.workers.unexpected.UnexpectedErrorsError: motions ended with unexpected errors.
    """
    unexpected = UnexpectedErrors()
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(out).expanduser() if out is not None else Path(scratch) / "audit"
        config = AuditConfig(dataset=Path(folder).expanduser(), out=written, limit=limit)
        found = run_audit(config, unexpected=unexpected)
        if out is not None:
            write_report(written, audit_page(found), audit_figures(found))
    unexpected.require_none()
    return found.findings.to_pandas()
