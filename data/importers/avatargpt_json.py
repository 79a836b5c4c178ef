"""Import and export the JSON of the AvatarGPT release: texts of videos, without motion.

Format (facts in ``reference/avatargpt.md``): ``{video_name, video_fps, caption_list: [{start_time,
end_time, start_frame, end_frame, captions: [{detail, executable, simplified: [str]}]}],
description: [str]}``. In files that ChatGPT has not processed, ``captions`` are plain descriptions.

Known defects of the release are handled: every caption occurs three times (it is kept once), the
steps are one numbered string (it is split), and where ChatGPT answered with chatter instead of
steps, the annotation becomes a rejection. Texts are otherwise unchanged, including descriptions of
looks.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from data.errors import ItemError, Reason, Stage
from data.importers.archives import read_small_file
from data.plain_text import MAX_TEXT_CHARS, plain_text
from data.records import (
    Annotation,
    Caption,
    Clip,
    FineStep,
    Grounding,
    Outcome,
    Rejection,
    Shot,
    Verdict,
    VideoProbe,
    VideoScan,
    clip_id_of,
)
from data.schemas import Row, annotation_row, caption_row, clip_row, rejection_row, video_row
from data.store.dataset import Dataset, RowIndex
from data.store.manifest import require_file_id
from data.store.parquet import table_rows
from data.store.writer import open_writer, rows_table, write_text
from data.video.files import size_of
from data.video.sources import path_item_id
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers

RECIPE: Final = {"import": "avatargpt_json", "version": 1}
SOURCE: Final = "avatargpt-release"
"""Captioner, annotator and prompt of the rows; the release has no more information."""
CAPTION_MODEL: Final = "videochat-7b"
ANNOTATION_MODEL: Final = "chatgpt"
ISSUE: Final = "imported_texts"
"""Value in ``videos.issues``: size, codec and hash of the file are unknown."""

_NUMBERING: Final = re.compile(r"^\s*(?:(?:step\s*)?\d+\s*[.):]|[-*•])\s*", re.IGNORECASE)
_CHATTER: Final = re.compile(
    r"\b(sorry|apolog(?:y|ies|i[sz]e)|as an ai|cannot (?:assist|help|provide))\b", re.IGNORECASE
)
_ID_LENGTH: Final = 16
MAX_LENGTH_S: Final = 24 * 3600.0
MAX_FRAMES: Final = 1000 * 24 * 3600


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore")


_Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS), AfterValidator(plain_text)]
_Time = Annotated[float, Field(ge=0, le=MAX_LENGTH_S, allow_inf_nan=False)]
_Index = Annotated[int, Field(ge=0, le=MAX_FRAMES)]


class _Texts(_Item):
    detail: _Text
    executable: _Text
    simplified: list[_Text]


class _Segment(_Item):
    start_time: _Time
    end_time: _Time
    start_frame: _Index
    end_frame: _Index
    captions: list[_Texts | _Text]


class _Video(_Item):
    video_name: _Text = Field(min_length=1)
    video_fps: float = Field(gt=0, le=1000)
    caption_list: list[dict[str, Any]]
    description: list[_Text] = []


@dataclass(slots=True)
class ImportedVideo:
    """The records of one file of the release.

    Attributes:
        video_id: hash of the video's name and segments, since the video itself is not available.
        video: row of ``videos``.
        clips: rows of ``clips``.
        captions: captions of the segments and of the whole video.
        annotations: annotations with their clips.
        rejections: rejections of segments and of texts that are not annotations.
        num_repeated: number of repeated captions, which were left out.
    """

    video_id: str
    video: Row
    clips: list[Row] = field(default_factory=list[Row])
    captions: list[Caption] = field(default_factory=list[Caption])
    annotations: list[tuple[Annotation, Clip]] = field(
        default_factory=list[tuple[Annotation, Clip]]
    )
    rejections: list[Rejection] = field(default_factory=list[Rejection])
    num_repeated: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Result of an import.

    Attributes:
        num_videos: number of added videos.
        num_known: number of videos that the dataset already had.
        num_repeated: number of repeated captions, which were left out.
        added: number of new rows by table.
    """

    num_videos: int
    num_known: int
    num_repeated: int
    added: Mapping[str, int]


def import_avatargpt_json(
    files: Sequence[Path], root: Path, worker_config: WorkerConfig | None = None
) -> ImportReport:
    """Import files of the release into a dataset, in one publication.

    Args:
        files: JSON files, or folders of them.
        root: the dataset; created, or extended.
        worker_config: configuration of the processes that read the files.

    Raises:
        ValueError: there is no such file.
        data.store.manifest.DatasetError: the dataset has another recipe, or another process writes
            to it.
        data.workers.unexpected.UnexpectedErrorsError: files ended with unexpected errors; the
            results of all other files are published.
    """
    paths = sorted({found for file in files for found in _json_files(file)})
    if not paths:
        raise ValueError(
            f"expected JSON files of the AvatarGPT release in {[str(f) for f in files]}, found "
            "none. Remedy: name the files, or the folder that holds them."
        )
    unexpected = UnexpectedErrors()
    with (
        open_writer(root, RECIPE) as writer,
        Workers(worker_config or WorkerConfig(), unexpected) as workers,
    ):
        published = writer.published()
        known = _column(published, "videos", "video_id")
        rejected = _column(published, "rejections", "item_id")
        rows: dict[str, list[Row]] = defaultdict(list)
        num_known = num_repeated = 0
        read = workers.run(read_avatargpt_json, paths, size_bytes=size_of, stage=Stage.IMPORT.value)
        # Workers finish in any order; of two files of one video the first one is used.
        for path, video in sorted(read, key=lambda found: found[0]):
            if isinstance(video, ItemError):
                item_id = path_item_id(path)
                if item_id not in rejected:
                    rejection = Rejection.of(item_id, str(path), Stage.IMPORT, video)
                    rows["rejections"].append(rejection_row(rejection, None))
                continue
            if video.video_id in known:
                num_known += 1
                continue
            known.add(video.video_id)
            num_repeated += video.num_repeated
            rows["videos"].append(video.video)
            rows["clips"] += video.clips
            rows["captions"] += map(caption_row, video.captions)
            rows["annotations"] += [annotation_row(a, clip) for a, clip in video.annotations]
            rows["rejections"] += [rejection_row(r, video.video_id) for r in video.rejections]
        added: Mapping[str, int] = {}
        if rows:
            added = writer.publish(
                {name: rows_table(name, new) for name, new in rows.items()}
            ).added
    unexpected.require_none()
    return ImportReport(len(rows["videos"]), num_known, num_repeated, added)


def _json_files(path: Path) -> Iterable[Path]:
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def _column(dataset: Dataset | None, table: str, column: str) -> set[str]:
    return {row[column] for row in dataset.rows(table, [column])} if dataset else set()


def read_avatargpt_json(path: Path) -> ImportedVideo:
    """Read one file of the release.

    Raises:
        ItemError: the file has another format.
    """
    try:
        video = _Video.model_validate_json(read_small_file(path))
    except ValidationError as error:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected a JSON file of the AvatarGPT release, found {_briefly(error)}.",
            "Leave the file out, or correct it.",
        ) from error
    spans = [
        (_plain_number(raw.get("start_frame")), _plain_number(raw.get("end_frame")))
        for raw in video.caption_list
    ]
    content = json.dumps([Path(video.video_name).name, video.video_fps, spans])
    video_id = hashlib.sha256(content.encode()).hexdigest()[:_ID_LENGTH]
    segments = list(_segments(video, video_id, str(path)))
    good = [segment for _, segment in segments if isinstance(segment, _Segment)]
    duration_s = max((segment.end_time for segment in good), default=0.0)
    scenes = list(dict.fromkeys(text.strip() for text in video.description if text.strip()))
    coarse = re.split(r"(?<=[.!?])\s", scenes[0])[0] if scenes else ""
    imported = ImportedVideo(video_id, _video_row(video, video_id, good, duration_s, coarse))
    imported.num_repeated += len(video.description) - len(scenes)
    for sample, text in enumerate(scenes):
        imported.captions.append(_caption(video_id, None, text, sample))
    for index, segment in segments:
        if isinstance(segment, Rejection):
            imported.rejections.append(segment)
        else:
            _add_segment(imported, segment, coarse, f"{path} segment {index}")
    return imported


def _plain_number(value: object) -> float | None:
    """Return a plausible frame number unchanged, and None for any other value."""
    return value if isinstance(value, (int, float)) and 0 <= value <= MAX_FRAMES else None


def _segments(
    video: _Video, video_id: str, item: str
) -> Iterator[tuple[int, "_Segment | Rejection"]]:
    for index, raw in enumerate(video.caption_list):
        try:
            segment = _Segment.model_validate(raw)
            if segment.end_time <= segment.start_time or segment.end_frame <= segment.start_frame:
                raise ItemError(
                    Reason.WRONG_FORM,
                    f"expected a span, found {segment.start_time:g} to {segment.end_time:g} s.",
                    "Correct the segment.",
                )
            yield index, segment
        except (ValidationError, ItemError) as error:
            problem = (
                error
                if isinstance(error, ItemError)
                else ItemError(
                    Reason.WRONG_FORM,
                    f"expected a segment of the release, found {_briefly(error)}.",
                    "Correct the segment.",
                )
            )
            name = f"{item} segment {index}"
            yield index, Rejection.of(f"{video_id}-{index}", name, Stage.IMPORT, problem)


def _briefly(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


def _video_row(
    video: _Video, video_id: str, segments: Sequence[_Segment], duration_s: float, coarse: str
) -> Row:
    fps = Fraction(video.video_fps).limit_denominator(1001)
    num_frames = max((segment.end_frame for segment in segments), default=0)
    probe = VideoProbe(
        path=Path(video.video_name),
        size_bytes=0,
        container="",
        codec="",
        width_px=0,
        height_px=0,
        rotation_deg=0,
        fps=fps,
        start_offset_s=0.0,
        duration_s=duration_s,
        num_packets=0,
        constant_rate=True,
        issues=(ISSUE,),
    )
    shot = Shot(0, num_frames, 0.0, duration_s, 0.0, "", 0.0)
    scan = VideoScan(num_frames, duration_s, (shot,), ())
    return video_row(video_id, 0, probe, scan, len(segments), coarse)


def _add_segment(imported: ImportedVideo, segment: _Segment, coarse: str, item: str) -> None:
    clip = Clip(
        clip_id=clip_id_of(imported.video_id, segment.start_frame, segment.end_frame),
        video_id=imported.video_id,
        shot_index=0,
        start_frame=segment.start_frame,
        end_frame=segment.end_frame,
        start_s=segment.start_time,
        end_s=segment.end_time,
        brightness=0.0,
        camera="",
        camera_speed=0.0,
    )
    row = clip_row(clip, num_people=0, num_tracks=0, decoder="", quality=0.0, issues=(ISSUE,))
    imported.clips.append(row)
    texts = list({_content(text): text for text in segment.captions}.values())
    imported.num_repeated += len(segment.captions) - len(texts)
    for sample, text in enumerate(texts):
        detail = text if isinstance(text, str) else text.detail
        imported.captions.append(_caption(clip.video_id, clip.clip_id, detail.strip(), sample))
        if isinstance(text, str):
            continue
        try:
            annotation = _annotation(clip, text, coarse, sample)
        except ItemError as error:
            name = f"{item} caption {sample}"
            rejection = Rejection.of(f"{clip.clip_id}-{sample}", name, Stage.IMPORT, error)
            imported.rejections.append(rejection)
        else:
            imported.annotations.append((annotation, clip))


def _content(text: _Texts | str) -> str:
    return text if isinstance(text, str) else text.model_dump_json()


def _caption(video_id: str, clip_id: str | None, text: str, sample: int) -> Caption:
    return Caption(
        video_id=video_id,
        clip_id=clip_id,
        captioner=SOURCE,
        model=CAPTION_MODEL,
        prompt_id=SOURCE,
        text=text,
        outcome=Outcome.SUCCESS,
        sample=sample,
    )


def split_steps(executable: str) -> list[str]:
    """Split a numbered or dashed list into steps without their markers."""
    lines = (_NUMBERING.sub("", line).strip() for line in executable.splitlines())
    return [line for line in lines if line]


def _annotation(clip: Clip, texts: _Texts, coarse: str, sample: int) -> Annotation:
    """Create the annotation of one caption of a segment.

    Raises:
        ItemError: the caption has no usable annotation.
    """
    said = "\n".join((texts.executable, *texts.simplified))
    if found := _CHATTER.search(said):
        raise ItemError(
            Reason.CHATTER,
            f"expected steps, found chatter of a model ({found.group()!r}).",
            "Nothing to do: the caption is kept.",
        )
    steps = split_steps(texts.executable)
    medium = tuple(dict.fromkeys(text.strip() for text in texts.simplified if text.strip()))
    if not steps or not medium:
        raise ItemError(
            Reason.NO_STEPS,
            f"expected steps and a summary, found {len(steps)} steps, {len(medium)} summaries.",
            "Nothing to do: the caption is kept.",
        )
    # The release has neither times within a segment nor motion to check the steps against.
    unchecked = Grounding(
        Verdict.NOT_MEASURABLE, "imported without motion", clip.start_s, clip.end_s
    )
    return Annotation(
        clip_id=clip.clip_id,
        video_id=clip.video_id,
        track_id=0,
        coarse=coarse,
        medium=medium,
        fine=tuple(FineStep(step, clip.start_s, clip.end_s, unchecked) for step in steps),
        activity="",
        annotator=SOURCE,
        model=ANNOTATION_MODEL,
        prompt_id=SOURCE,
        outcome=Outcome.SUCCESS,
        sample=sample,
        medium_grounding=(unchecked,) * len(medium),
    )


# --------------------------------------------------------------------------------------- export


def export_avatargpt_json(root: Path, folder: Path) -> list[Path]:
    """Write the texts of a dataset in the JSON format of the release, one file per video.

    Every person of a clip has an entry in ``captions``, because the format knows no people.
    ``detail`` is the caption that an annotation was made from: that of the person, or else that of
    the clip, or the first one if one annotation was made from several captions. Clips without a
    successful annotation are left out.

    Args:
        root: the dataset.
        folder: folder for ``<video_id>.json``; created if missing.

    Returns:
        The written files.

    Raises:
        data.store.manifest.DatasetError: there is no dataset.
    """
    dataset = Dataset(root)
    tables = {
        name: RowIndex(dataset, name, "video_id") for name in ("captions", "annotations", "clips")
    }
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    # In batches of videos, because the texts of a large dataset do not fit into memory.
    for batch in dataset.batches("videos"):
        ids = batch["video_id"].to_pylist()
        rows = {name: index.get(ids) for name, index in tables.items()}
        for video in table_rows(batch):
            video_id = video["video_id"]
            of_video = {name: found.get(video_id, []) for name, found in rows.items()}
            path = folder / f"{require_file_id(video_id)}.json"
            content = _exported_video(video, of_video)
            write_text(path, json.dumps(content, indent=1, ensure_ascii=False))
            written.append(path)
    return written


def _exported_video(video: Row, rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    captions: _Captions = defaultdict(dict)
    for row in rows["captions"]:
        if row["outcome"] == Outcome.SUCCESS:
            captions[row["clip_id"], row["track_id"]][row["sample"]] = row["text"]
    annotations: dict[str, list[Row]] = defaultdict(list)
    for row in rows["annotations"]:
        if row["outcome"] == Outcome.SUCCESS:
            annotations[row["clip_id"]].append(row)
    whole = captions.get((None, None), {})
    return {
        "video_name": video["path"],
        "video_fps": _number(video["fps"]),
        "caption_list": [
            _exported_segment(clip, annotations[clip["clip_id"]], captions)
            for clip in sorted(rows["clips"], key=lambda row: row["start_frame"])
            if annotations[clip["clip_id"]]
        ],
        "description": [whole[sample] for sample in sorted(whole)] or [video["coarse"]],
    }


_Captions = dict[tuple[str | None, int | None], dict[int, str]]
"""Texts by clip and person (None for all), and by sample."""


def _exported_segment(clip: Row, annotations: Sequence[Row], captions: _Captions) -> dict[str, Any]:
    return {
        "start_time": _number(clip["start_s"]),
        "start_frame": clip["start_frame"],
        "end_time": _number(clip["end_s"]),
        "end_frame": clip["end_frame"],
        "captions": [
            {
                "detail": _detail(row, captions),
                "executable": "\n".join(
                    f"{number}. {step['text']}" for number, step in enumerate(row["fine"], 1)
                ),
                "simplified": list(row["medium"]),
            }
            for row in sorted(annotations, key=lambda row: (row["track_id"] or 0, row["sample"]))
        ],
    }


def _detail(annotation: Row, captions: _Captions) -> str:
    """Return the caption that an annotation was made from; empty if there is none."""
    clip_id = annotation["clip_id"]
    details = captions.get((clip_id, annotation["track_id"])) or captions.get((clip_id, None)) or {}
    return details.get(annotation["sample"], details[min(details)] if details else "")


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
