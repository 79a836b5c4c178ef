"""The card of a dataset: ``README.md`` with the metadata that Hugging Face reads.

``datasets.load_dataset(FOLDER)`` follows it: one configuration per table that has rows, and the one
that a reader most likely wants by default.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

HUB_LICENSES: Final = frozenset(
    {
        "afl-3.0",
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc",
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-2.0",
        "gpl-3.0",
        "mit",
        "odbl",
        "odc-by",
        "other",
        "pddl",
        "unknown",
        "unlicense",
    }
)
"""Identifiers of licenses, as Hugging Face spells them."""

_DEFAULTS: Final = ("motions", "annotations", "clips", "motion_tokens", "videos", "rejections")
"""Tables by how much they are what a reader wants; of those with rows, the first is the default."""

_TOLD_LICENSES: Final = 20

_VIDEO_EXAMPLE: Final = """\
annotations = load_dataset(FOLDER)["train"]     # coarse, medium, fine of every clip
print(annotations[0]["medium"])

poses = load_dataset(FOLDER, "poses")["train"]  # a person in a clip each
joints = np.asarray(poses[0]["joints_3d"]).reshape(-1, 22, 3)  # (T, 22, 3) meters, y up
path = np.asarray(poses[0]["root_trajectory"]).reshape(-1, 1, 3)
motion = joints + path"""
_MOTION_EXAMPLE: Final = """\
motions = load_dataset(FOLDER)["train"].with_format("numpy")
train = motions.filter(lambda row: row["split"] == "train")
print([text["text"] for text in motions[0]["texts"]])
features = np.asarray(motions[0]["features"]).reshape(-1, 263)  # (T, 263), 20 frames per second"""
_CODES_EXAMPLE: Final = """\

tokens = load_dataset(FOLDER, "motion_tokens")["train"]
codes = np.asarray(tokens[0]["codes"]).reshape(-1, tokens[0]["num_quantizers"])"""
_TEXT_EXAMPLE: Final = """\
annotations = load_dataset(FOLDER)["train"]     # a scene, a task and its steps each
print(annotations[0]["coarse"], annotations[0]["medium"])
print([step["text"] for step in annotations[0]["fine"]])"""


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The dataset's README.

    Args:
        manifest: of the dataset; ``license`` is what its owner chose, ``licenses`` what the rows of
            ``motions`` say of their sources.
    """
    tables = {name: table for name, table in manifest["tables"].items() if table["rows"]}
    license_id, told = _license(manifest.get("license", ""), manifest.get("licenses", ()))
    default = next((name for name in _DEFAULTS if name in tables), None)
    front = {
        "license": license_id,
        "tags": ["human-motion", "text-to-motion", "motion-captioning"],
        "size_categories": [_size_category(tables[default]["rows"] if default else 0)],
        # A dataset without rows has no configuration, and no key for them.
        **({"configs": [_config(*item, default) for item in tables.items()]} if tables else {}),
    }
    rows = "\n".join(
        f"| {name} | {table['rows']:,} | {sum(p['bytes'] for p in table['parts']) / 1e6:,.2f} |"
        for name, table in manifest["tables"].items()
    )
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip()}
---
# {_title(tables)}

{_counts(tables)}

Made by avatargpt {manifest["code_version"]}, last published {manifest["updated_at"]}.
Motion: {len(manifest["skeleton"]["joint_names"])} joints ({manifest["skeleton"]["name"]}),
{manifest["fps"]} frames per second, {manifest["units"]}, {manifest["up_axis"]} up.

| table | rows | MB |
|---|---:|---:|
{rows}

```python
import numpy as np
from datasets import load_dataset  # or pandas.read_parquet("FOLDER/TABLE")

{_example(tables)}
```
`train` is the name that `load_dataset` gives to all rows of a table.

## License
{told}
"""


def check_license(license_id: str) -> str:
    """An identifier that a dataset card may have.

    Raises:
        ValueError: Hugging Face knows no such identifier.
    """
    if license_id not in HUB_LICENSES:
        raise ValueError(
            f"license: expected one of {', '.join(sorted(HUB_LICENSES))}, found {license_id!r}. "
            "Remedy: choose one; other is for a license of its own."
        )
    return license_id


def _license(chosen: str, licenses: Iterable[str]) -> tuple[str, str]:
    """The identifier for the metadata, and what the text says."""
    known = sorted({text for text in licenses if text})
    listed = "\n".join(f"- {text}" for text in known[:_TOLD_LICENSES])
    sources = f"The column `license` of `motions` says of its sources:\n\n{listed}" if known else ""
    if chosen:
        return chosen, "\n\n".join(filter(None, [f"Published under {chosen}.", sources]))
    if len(known) == 1 and known[0].lower() in HUB_LICENSES:
        return known[0].lower(), f"That of its source: {known[0]}."
    if known:
        return "other", f"Not chosen yet. {sources}"
    return (
        "unknown",
        "Not known: that of the videos and texts it was made from decides. Set it with "
        "`avatargpt card FOLDER --license ID`.",
    )


def _config(name: str, table: Mapping[str, Any], default: str | None) -> dict[str, Any]:
    # `load_dataset` knows a folder again by its name and these lines alone. Without what the parts
    # are, it would give its copy of older rows, or those of another folder of that name.
    content = hashlib.sha256(json.dumps(table["parts"], sort_keys=True).encode()).hexdigest()
    config: dict[str, Any] = {
        "config_name": name,
        "data_files": f"{name}/*.parquet",
        "description": f"{table['rows']} rows, parts {content[:16]}",
    }
    return config | ({"default": True} if name == default else {})


def _title(tables: Mapping[str, Any]) -> str:
    if "motions" in tables:
        return "Motions with texts"
    if "clips" in tables or "poses" in tables:
        return "Videos with 3-D motion and three levels of text"
    return "Scenes, tasks and steps in words"


def _counts(tables: Mapping[str, Any]) -> str:
    """One sentence on how much of what there is."""
    nouns = {
        "videos": "videos",
        "clips": "clips",
        "poses": "tracked people",
        "annotations": "annotations",
        "motions": "motions",
        "motion_tokens": "tokenized motions",
    }
    told = [f"{tables[name]['rows']:,} {noun}" for name, noun in nouns.items() if name in tables]
    return f"{', '.join(told)}." if told else "No rows yet."


def _example(tables: Mapping[str, Any]) -> str:
    if "motions" in tables:
        return _MOTION_EXAMPLE + (_CODES_EXAMPLE if "motion_tokens" in tables else "")
    return _VIDEO_EXAMPLE if "poses" in tables else _TEXT_EXAMPLE


def _size_category(rows: int) -> str:
    steps: Sequence[tuple[int, str]] = (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
    )
    return next((name for limit, name in steps if rows < limit), "n>1M")
