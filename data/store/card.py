"""Write the dataset card: ``README.md`` with the metadata that Hugging Face reads.

``datasets.load_dataset(FOLDER)`` uses it: there is one configuration per table with rows, and the
default is the table that most readers want.
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
"""License identifiers of Hugging Face."""

_DEFAULTS: Final = ("motions", "annotations", "clips", "motion_tokens", "videos", "rejections")
"""Tables by priority; the first one with rows is the default configuration."""

_SHOWN_LICENSES: Final = 20

_VIDEO_EXAMPLE: Final = """\
annotations = load_dataset(FOLDER)["train"]     # coarse, medium, fine of every person
print(annotations[0]["medium"])

poses = load_dataset(FOLDER, "poses")["train"]  # one person in one clip per row
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
annotations = load_dataset(FOLDER)["train"]     # one scene, task and its steps per row
print(annotations[0]["coarse"], annotations[0]["medium"])
print([step["text"] for step in annotations[0]["fine"]])"""

CARD: Final = "README.md"
"""File of the dataset card, in the folder of the dataset."""


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """Create the content of the dataset's README.

    Args:
        manifest: manifest of the dataset. ``license`` is the owner's choice, ``licenses`` are the
            values of the column ``license`` of ``motions``.
    """
    tables = {name: table for name, table in manifest["tables"].items() if table["rows"]}
    license_id, license_text = _license(manifest.get("license", ""), manifest.get("licenses", ()))
    default = next((name for name in _DEFAULTS if name in tables), None)
    front = {
        "license": license_id,
        "tags": ["human-motion", "text-to-motion", "motion-captioning"],
        "size_categories": [_size_category(tables[default]["rows"] if default else 0)],
        # The key is left out for a dataset without rows, which has no configurations.
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
`load_dataset` names all rows of a table `train`.

## License
{license_text}
"""


def check_license(license_id: str) -> str:
    """Check a license identifier, and return it.

    Raises:
        ValueError: Hugging Face does not know the identifier.
    """
    if license_id not in HUB_LICENSES:
        raise ValueError(
            f"license: expected one of {', '.join(sorted(HUB_LICENSES))}, found {license_id!r}. "
            "Remedy: choose one; use other for a custom license."
        )
    return license_id


def _license(chosen: str, licenses: Iterable[str]) -> tuple[str, str]:
    """Return the identifier for the metadata, and the text of the license section."""
    known = sorted({text for text in licenses if text})
    listed = "\n".join(f"- {text}" for text in known[:_SHOWN_LICENSES])
    sources = (
        f"Licenses of the sources (column `license` of `motions`):\n\n{listed}" if known else ""
    )
    if chosen:
        return chosen, "\n\n".join(filter(None, [f"Published under {chosen}.", sources]))
    if len(known) == 1 and known[0].lower() in HUB_LICENSES:
        return known[0].lower(), f"License of its source: {known[0]}."
    if known:
        return "other", f"Not chosen yet. {sources}"
    return (
        "unknown",
        "Unknown: it depends on the videos and texts that the dataset was made from. Set it with "
        "`avatargpt card FOLDER --license ID`.",
    )


def _config(name: str, table: Mapping[str, Any], default: str | None) -> dict[str, Any]:
    # `load_dataset` caches by the folder's name and these fields. Without a hash of the parts, it
    # would return cached rows of an older version, or of another folder with the same name.
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
    """Describe the number of rows of each table in one sentence."""
    nouns = {
        "videos": "videos",
        "clips": "clips",
        "poses": "tracked people",
        "annotations": "annotations",
        "motions": "motions",
        "motion_tokens": "tokenized motions",
    }
    counts = [f"{tables[name]['rows']:,} {noun}" for name, noun in nouns.items() if name in tables]
    return f"{', '.join(counts)}." if counts else "No rows yet."


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
