"""The figures of a dataset's report."""

from pydantic import BaseModel, ConfigDict

from evaluation.duplicates import Duplicates


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class TableSize(_Figures):
    """Size of a table.

    Attributes:
        table: name of the table.
        rows: number of rows.
        size_bytes: size of its parts.
    """

    table: str
    rows: int
    size_bytes: int


class Count(_Figures):
    """How often something occurs."""

    name: str
    count: int


class Spread(_Figures):
    """Distribution of a number.

    Attributes:
        count: how many values there are; the others are not known.
        total, mean, low, median, high, least, most: of the values; ``low`` and ``high`` bound the
            middle 90 %.
        edges: edges of the histogram's bins. Values beyond the last edge are in the last bin.
        counts: number of values per bin.
    """

    count: int
    total: float
    mean: float
    low: float
    median: float
    high: float
    least: float
    most: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class TextFigures(_Figures):
    """Texts of one kind.

    Attributes:
        kind: what they are, e.g. ``fine steps``.
        texts: number of texts.
        distinct: number of different texts.
        words: number of different words.
        mean_words: mean number of words of a text.
        longest: largest number of words of a text.
        frequent: the most frequent texts.
        is_complete: false if there are so many different texts or words that not all were kept:
            then ``distinct`` and ``words`` are lower bounds.
    """

    kind: str
    texts: int
    distinct: int
    words: int
    mean_words: float
    longest: int
    frequent: tuple[Count, ...]
    is_complete: bool


class SourceSplit(_Figures):
    """Motions of one source in one split.

    Attributes:
        source: database or kind of source.
        split: the split.
        motions: number of motions, without mirror images.
        mirrored: number of mirror images.
        groups: number of groups that stay in one split.
        hours: length of the motions without mirror images.
        described: number of motions without mirror images that people have described.
    """

    source: str
    split: str
    motions: int
    mirrored: int
    groups: int
    hours: float
    described: int


class TokenFigures(_Figures):
    """Motion tokens of one tokenizer.

    Attributes:
        tokenizer_id: the tokenizer.
        motions: number of tokenized motions.
        tokens: number of tokens.
        num_quantizers: number of codes of a token.
        num_codes: number of codes in each codebook.
    """

    tokenizer_id: str
    motions: int
    tokens: int
    num_quantizers: int
    num_codes: int


class Verdicts(_Figures):
    """Verdicts of grounding on the texts of one level by one annotator."""

    level: str
    annotator: str
    supported: int
    contradicted: int
    not_measurable: int
    not_checked: int


class Contradiction(_Figures):
    """A text that the measured motion contradicts.

    Attributes:
        clip_id: the clip.
        track_id: the person.
        level: level of the text.
        text: the text.
        measurement: what was measured instead.
        score: grounding score of the annotation.
    """

    clip_id: str
    track_id: int
    level: str
    text: str
    measurement: str
    score: float


class RejectionGroup(_Figures):
    """Rejections of one stage for one reason, with an example."""

    stage: str
    reason: str
    count: int
    item: str
    detail: str
    remedy: str


class ModelUse(_Figures):
    """Calls of one model for one table.

    Attributes:
        table: ``captions`` or ``annotations``.
        writer: captioner or annotator.
        model: the model.
        rows: number of rows.
        failed: number of rows by outcome, without the successful ones.
        tokens_in, tokens_out: sum of the tokens; the cost of a call is divided among its rows.
        cost_usd: sum of the cost.
    """

    table: str
    writer: str
    model: str
    rows: int
    failed: tuple[Count, ...]
    tokens_in: int
    tokens_out: int
    cost_usd: float


class License(_Figures):
    """Motions of a source under a license; empty if it is unknown."""

    source: str
    license: str
    motions: int


class Version(_Figures):
    """Rows of a table by the versions that wrote them."""

    table: str
    schema_version: int
    code_version: str
    rows: int


class DatasetFigures(_Figures):
    """All figures of a dataset's report.

    Attributes:
        dataset: folder of the dataset.
        created_at, updated_at: ISO 8601, UTC.
        publications: number of publications.
        recipe: configuration that decides what rows contain.
        license: license that the owner chose; empty if none.
        tables: size of all tables.
        video_s, clip_s, motion_s: lengths in seconds; of motions, without mirror images.
        resolutions, cameras, issues: videos by size, clips by camera, videos and clips by issue.
        people: clips by number of tracked people.
        activities, events, objects, labels: annotations by activity, events by kind, clips by
            object, motions by label without mirror images.
        steps: number of fine steps per annotation.
        texts: texts by kind.
        splits: motions by source and split.
        tokens: motion tokens by tokenizer.
        duplicates: near-duplicates between splits.
        verdicts, scores, contradictions: grounding.
        clip_quality, pose_quality, motion_quality: confidence, 0..1.
        foot_skate_m_s, jitter_m_s3: naturalness of the motions.
        rejections: rejections by stage and reason.
        models: use of models.
        licenses: motions by license.
        versions: rows by version.
    """

    dataset: str
    created_at: str
    updated_at: str
    publications: int
    recipe: dict[str, object]
    license: str
    tables: tuple[TableSize, ...]
    video_s: Spread | None
    clip_s: Spread | None
    motion_s: Spread | None
    resolutions: tuple[Count, ...]
    cameras: tuple[Count, ...]
    issues: tuple[Count, ...]
    people: tuple[Count, ...]
    activities: tuple[Count, ...]
    events: tuple[Count, ...]
    objects: tuple[Count, ...]
    labels: tuple[Count, ...]
    steps: Spread | None
    texts: tuple[TextFigures, ...]
    splits: tuple[SourceSplit, ...]
    tokens: tuple[TokenFigures, ...]
    duplicates: Duplicates
    verdicts: tuple[Verdicts, ...]
    scores: Spread | None
    contradictions: tuple[Contradiction, ...]
    clip_quality: Spread | None
    pose_quality: Spread | None
    motion_quality: Spread | None
    foot_skate_m_s: Spread | None
    jitter_m_s3: Spread | None
    rejections: tuple[RejectionGroup, ...]
    models: tuple[ModelUse, ...]
    licenses: tuple[License, ...]
    versions: tuple[Version, ...]

    def rows(self, table: str) -> int:
        """Return the number of rows of a table."""
        return next((size.rows for size in self.tables if size.table == table), 0)
