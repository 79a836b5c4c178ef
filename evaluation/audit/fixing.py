"""Write a cleaned copy of a dataset: what has a safe repair is repaired or left out, and logged.

The dataset itself is never changed. What is only suspicious stays as it is.

Shapes: T frames, J = 22 joints, D = 263 features.
"""

import io
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.arrays import FloatArray
from data.errors import ItemError
from data.importers.humanml3d import load_array
from data.motion.features import features_to_joints, joints_to_features, mirror_text
from data.motion.skeleton import MIRROR
from data.schemas import SCHEMAS, load_features
from data.store.dataset import Dataset
from data.store.parquet import table_rows
from data.store.reviews import add_reviews, read_reviews
from data.store.writer import open_writer, rows_table, write_bytes
from evaluation.audit.findings import Fix, Kind
from evaluation.audit.run import FINDINGS_FILE, Audit, require_outside
from evaluation.audit.sources import (
    JOINTS,
    SPLITS,
    TEXTS,
    VECTORS,
    ItemText,
    Layout,
    bvh_file,
    parse_line,
    text_file,
)

FIXES_FILE: Final = "fixes.parquet"
MIN_CONFIDENCE: Final = 0.9
"""Confidence from which a finding is acted on."""
_ROWS_AT_ONCE: Final = 512
FIXES: Final = pa.schema(
    [(name, pa.string()) for name in ("item_id", "fix", "kind", "field", "before", "after")]
)
"""Columns of ``fixes.parquet``: what was changed, for which finding, from what to what."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the cleaned copy.

    Attributes:
        item_id: the motion.
        fix: what was done.
        kind: kind of the finding.
        field: file or column.
        before, after: the text, split or line before and after; empty if it is gone.
    """

    item_id: str
    fix: Fix
    kind: str
    field: str = ""
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class _Plan:
    """What is done to which motion.

    Attributes:
        dropped: kind of the finding by motion.
        to_train: likewise, of motions that move into the training split.
        exchanged: motions whose sides are exchanged.
        texts: fixes of a motion's texts, by index: (fix, kind, number).
        lines: malformed lines of a motion by number.
        names: names that leave a split list, (split, name).
    """

    dropped: dict[str, str] = field(default_factory=dict[str, str])
    to_train: dict[str, str] = field(default_factory=dict[str, str])
    exchanged: set[str] = field(default_factory=set[str])
    texts: dict[str, dict[int, list[tuple[Fix, str, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    names: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])


def write_fixed(
    audit: Audit, out: Path, report: Callable[[int, int], None] | None = None
) -> dict[Fix, int]:
    """Write a cleaned copy in the layout of the dataset, with ``fixes.parquet``.

    Args:
        audit: an audit of all motions of the dataset.
        out: folder of the copy; new or empty.
        report: called with the number of copied files or rows, and of all.

    Returns:
        Number of changes by what was done.

    Raises:
        ValueError: the folder has content, or one of the two folders is inside the other.
        OSError: a file cannot be written.
    """
    require_new(out, audit.source.root)
    plan = _plan_of(audit)
    out.mkdir(parents=True, exist_ok=True)
    write = _write_dataset if audit.source.layout is Layout.DATASET else _write_files
    changes = list(write(audit, plan, out, report or _ignore))
    rows = [{name: str(getattr(change, name)) for name in FIXES.names} for change in changes]
    pq.write_table(pa.Table.from_pylist(rows, FIXES), out / FIXES_FILE, compression="zstd")
    counts = {fix: sum(change.fix is fix for change in changes) for fix in Fix}
    return {fix: count for fix, count in counts.items() if count}


def require_new(out: Path, dataset: Path) -> None:
    """Check the folder of a cleaned copy before the work begins.

    Raises:
        ValueError: it has content, or one of the two folders is inside the other.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"--fix {out}: expected a new or empty folder, found content. Remedy: choose another "
            "folder; nothing is overwritten."
        )
    require_outside(out, dataset, "--fix")
    require_outside(dataset, out, "dataset")


def _ignore(_done: int, _total: int) -> None:
    return


def _plan_of(audit: Audit) -> _Plan:
    plan = _Plan()
    for row in audit.findings.to_pylist():
        fix, name, kind = Fix(row["fix"]), row["item_id"], row["kind"]
        if fix is Fix.NONE or row["confidence"] < MIN_CONFIDENCE:
            continue
        if fix is Fix.DROP_MOTION:
            plan.dropped.setdefault(name, kind)
        elif fix is Fix.TO_TRAIN:
            plan.to_train.setdefault(name, kind)
        elif fix is Fix.EXCHANGE_SIDES:
            plan.exchanged.add(name)
        elif fix is Fix.DROP_NAME:
            plan.names.add((row["field"].removesuffix(".txt"), name))
        elif kind == Kind.BAD_LINE:
            plan.lines[name].add(int(row["value"]))
        else:
            # The length of the motion, of texts that end after it.
            plan.texts[name][row["text_index"]].append((fix, kind, row["threshold"] or 0.0))
    return plan


def _fixed_text(
    text: ItemText, fixes: Sequence[tuple[Fix, str, float]]
) -> tuple[str, float] | None:
    """Return the text and its end after the fixes; None if it is dropped."""
    words, end_s = text.text, text.end_s
    kinds = {fix for fix, _, _ in fixes}
    if Fix.DROP_TEXT in kinds:
        return None
    if kinds & {Fix.SWAP_SIDES, Fix.MIRROR_TEXT}:
        words = mirror_text(words)
    for fix, _, length_s in fixes:
        if fix is Fix.RETIME:
            end_s = int(10 * length_s) / 10
    return words, end_s


def _exchanged(features_TD: FloatArray) -> FloatArray:
    """Return the features of a motion with the joints of the left and the right exchanged."""
    joints_TJ3 = features_to_joints(features_TD)
    # Features lack the last frame; it goes on as before.
    ahead = 2 * joints_TJ3[-1:] - joints_TJ3[-2:-1] if len(joints_TJ3) > 1 else joints_TJ3[-1:]
    whole = np.concatenate([joints_TJ3, ahead])[:, list(MIRROR)]
    return np.asarray(joints_to_features(whole), np.float32)


# ------------------------------------------------------------------------------------------- ours


def _write_dataset(
    audit: Audit, plan: _Plan, out: Path, report: Callable[[int, int], None]
) -> Iterator[Change]:
    dataset = Dataset(audit.source.root)
    total = sum(dataset.num_rows(name) for name in SCHEMAS)
    done = 0
    with open_writer(out, dataset.manifest["recipe"]) as writer:
        for name in SCHEMAS:
            waiting: list[Any] = []
            for batch in dataset.batches(name):
                done += batch.num_rows
                if name == "motions":
                    rows: list[Any] = []
                    for row in table_rows(batch):
                        kept, changes = _fixed_row(row, plan)
                        rows += kept
                        yield from changes
                    waiting.append(rows_table(name, rows))
                elif name == "motion_tokens":
                    waiting.append(_tokens(batch, plan))
                else:
                    waiting.append(batch)
                if sum(table.num_rows for table in waiting) >= _ROWS_AT_ONCE:
                    _publish(writer, name, waiting)
                report(done, total)
            _publish(writer, name, waiting)
        if dataset.manifest.get("license"):
            writer.set_license(dataset.manifest["license"])
    add_reviews(out, read_reviews(dataset.root))


def _publish(writer: Any, name: str, waiting: list[pa.Table]) -> None:
    table = pa.concat_tables(waiting) if waiting else SCHEMAS[name].empty_table()
    waiting.clear()
    if table.num_rows:
        writer.publish({name: table.cast(SCHEMAS[name])})


def _tokens(batch: pa.Table, plan: _Plan) -> pa.Table:
    gone = {*plan.dropped, *plan.exchanged}
    kept = [name not in gone for name in batch["motion_id"].to_pylist()]
    return batch.filter(pa.array(kept, pa.bool_()))


def _fixed_row(row: dict[str, Any], plan: _Plan) -> tuple[list[dict[str, Any]], list[Change]]:
    """Return the row after its fixes, or none if it is dropped, and the changes."""
    name, original = row["motion_id"], row["mirrored_of"] or ""
    changes: list[Change] = []
    why = plan.dropped.get(name) or plan.dropped.get(original)
    if why:
        return [], [Change(name, Fix.DROP_MOTION, why, "motions")]
    why = plan.to_train.get(name) or plan.to_train.get(original)
    if why and row["split"] != "train":
        changes.append(Change(name, Fix.TO_TRAIN, why, "split", row["split"], "train"))
        # The other motions of its group stay where they are.
        row["split"], row["group"] = "train", ""
    if name in plan.exchanged:
        features_TD = _exchanged(load_features(row))
        row["features"], row["num_frames"] = features_TD.ravel(), len(features_TD)
        changes.append(Change(name, Fix.EXCHANGE_SIDES, Kind.SIDES_EXCHANGED, "features"))
    fixes = plan.texts.get(name, {})
    spoken = [number for number, text in enumerate(row["texts"]) if text["level"] != "coarse"]
    texts: list[dict[str, Any]] = list(row["texts"])
    for index, of_text in fixes.items():
        number = spoken[index]
        text = texts[number]
        read = ItemText(text["text"] or "", text["start_s"], text["end_s"], number)
        fixed = _fixed_text(read, of_text)
        texts[number] = {} if fixed is None else {**text, "text": fixed[0], "end_s": fixed[1]}
        changes.append(_text_change(name, of_text, f"texts[{number}]", read, fixed))
    row["texts"] = [text for text in texts if text]
    return [row], changes


def _text_change(
    name: str,
    fixes: Sequence[tuple[Fix, str, float]],
    where: str,
    before: ItemText,
    after: tuple[str, float] | None,
) -> Change:
    fix, kind, _ = next((one for one in fixes if one[0] is Fix.DROP_TEXT), fixes[0])
    timed = any(fix is Fix.RETIME for fix, _, _ in fixes)
    told = f"{before.text} (to {before.end_s:g} s)" if timed else before.text
    if after is None:
        return Change(name, fix, kind, where, told)
    return Change(
        name, fix, kind, where, told, f"{after[0]} (to {after[1]:g} s)" if timed else after[0]
    )


# ------------------------------------------------------------------------------------------ files


def _write_files(
    audit: Audit, plan: _Plan, out: Path, report: Callable[[int, int], None]
) -> Iterator[Change]:
    root, layout = audit.source.root, audit.source.layout
    files = sorted(Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    if layout is Layout.BVH:
        # Rotations of a skeleton of its own are not exchanged by us.
        plan.exchanged.clear()
    seen: set[str] = set()
    for done, file in enumerate(files, 1):
        path = file.relative_to(root)
        report(done, len(files))
        if not file.is_file() or path.name in (FIXES_FILE, FINDINGS_FILE):
            continue
        name = _name_of(path, root, layout)
        if len(path.parts) == 1 and path.suffix == ".txt" and path.stem in SPLITS:
            yield from _write_split(file, out / path, plan)
        elif name in plan.dropped:
            if name not in seen:
                seen.add(name)
                yield Change(name, Fix.DROP_MOTION, plan.dropped[name], str(path))
        elif path.suffix == ".npy" and name in plan.exchanged:
            yield from _write_exchanged(file, out / path, name, path.parts[0])
        elif path.suffix == ".txt" and (name in plan.texts or name in plan.lines):
            yield from _write_texts(file, out / path, name, plan)
        else:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, out / path)


def _name_of(path: Path, root: Path, layout: Layout) -> str:
    """Return the name of the motion that a file belongs to; empty for other files."""
    folder, stem = path.parts[0], path.with_suffix("")
    if layout is Layout.HUMANML3D:
        return path.stem if len(path.parts) == 2 and folder in (VECTORS, JOINTS, TEXTS) else ""
    inside = stem.relative_to(TEXTS) if folder == TEXTS and path.suffix == ".txt" else stem
    name = str(inside)
    own = bvh_file(root, name), text_file(root, name, layout)
    return name if root / path in own or not own[0].is_file() else ""


def _write_split(file: Path, out: Path, plan: _Plan) -> Iterator[Change]:
    split = file.stem
    kept: list[str] = []
    names = list(dict.fromkeys(file.read_text(encoding="utf-8").split()))
    for name in names:
        # A mirror image is where its original is.
        why = plan.to_train.get(name) or plan.to_train.get(name.removeprefix("M"))
        if name in plan.dropped:
            continue
        if why and split != "train":
            yield Change(name, Fix.TO_TRAIN, why, file.name, split, "train")
        elif (split, name) in plan.names:
            yield Change(name, Fix.DROP_NAME, Kind.NAME_WITHOUT_FILES, file.name, name)
        else:
            kept.append(name)
    if split == "train":
        held_out = [
            other
            for of in ("val", "test")
            if (file.parent / f"{of}.txt").is_file()
            for other in (file.parent / f"{of}.txt").read_text(encoding="utf-8").split()
        ]
        moved = [
            name
            for name in held_out
            if name not in plan.dropped
            and (name in plan.to_train or name.removeprefix("M") in plan.to_train)
        ]
        kept = list(dict.fromkeys((*kept, *moved)))
    write_bytes(out, "".join(f"{name}\n" for name in kept).encode())


def _write_exchanged(file: Path, out: Path, name: str, folder: str) -> Iterator[Change]:
    try:
        array = load_array(file)
    except ItemError:
        return  # An unreadable file has a finding of its own.
    fixed = _exchanged(array) if folder == VECTORS else array[:, list(MIRROR)]
    content = io.BytesIO()
    np.save(content, fixed.astype(np.float32), allow_pickle=False)
    write_bytes(out, content.getvalue())
    yield Change(name, Fix.EXCHANGE_SIDES, Kind.SIDES_EXCHANGED, f"{folder}/{file.name}")


def _write_texts(file: Path, out: Path, name: str, plan: _Plan) -> Iterator[Change]:
    fixes: Mapping[int, Sequence[tuple[Fix, str, float]]] = plan.texts.get(name, {})
    lines: list[str] = []
    index = 0
    for number, raw in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if number in plan.lines.get(name, ()):
            yield Change(name, Fix.DROP_TEXT, Kind.BAD_LINE, f"line {number}", raw)
            continue
        read = parse_line(raw, number) if raw.strip() else ""
        if isinstance(read, str):
            lines.append(raw)
            continue
        of_text = fixes.get(index, ())
        index += 1
        if not of_text:
            lines.append(raw)
            continue
        fixed = _fixed_text(read, of_text)
        yield _text_change(name, of_text, f"line {number}", read, fixed)
        if fixed is not None:
            lines.append(_line(raw, fixed, swapped=fixed[0] != read.text))
    write_bytes(out, "".join(f"{line}\n" for line in lines).encode())


def _line(raw: str, fixed: tuple[str, float], *, swapped: bool) -> str:
    words, end_s = fixed
    parts = raw.split("#")
    parts[0] = words
    if len(parts) == 4:
        parts[1] = mirror_text(parts[1]) if swapped else parts[1]
        # Without a time, 0 and 0 stand for the whole motion.
        parts[3] = parts[3] if np.isinf(end_s) else f"{end_s:.1f}"
    return "#".join(parts)
