"""How long `avatargpt browse` makes people wait on a dataset of a million annotated people.

The store's own writer makes the dataset in the true schema, in ten publications: one person per
clip, ten clips per video, three wordings and four steps each, of 3,000 words; every eighth is
contradicted. The joints are left out, because lists never read them. A server is started as a user
starts it, once without an index and once with it, and asked over HTTP by one client: pages of the
list in every order and far down, filters, and searches of one to three words.

    .venv/bin/python benchmarks/browser.py [--people 1000000]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# Not this folder first, where `browser.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx2
import numpy as np
import psutil
import pyarrow as pa

from data.schemas import SCHEMAS
from data.store.writer import open_writer

TARGETS: Final = {"list_p95_ms": 300.0, "filter_p95_ms": 300.0, "search_p95_ms": 300.0}
"""Upper limits."""
_BATCH: Final = 100_000
_ACTIVITIES: Final = [f"activity_{number}" for number in range(40)]
_ASKED: Final = 60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1_000_000)
    people = parser.parse_args().people
    with tempfile.TemporaryDirectory(prefix="avatargpt-browser-") as folder:
        root, cache = Path(folder) / "dataset", Path(folder) / "cache"
        begun = time.monotonic()
        words = make_dataset(root, people)
        figures: dict[str, float] = {"people": people}
        print(f"{people:,} people: made in {time.monotonic() - begun:.0f} s", flush=True)
        begun = time.monotonic()
        with served(root, cache) as (client, server):
            figures["index_s"] = round(time.monotonic() - begun, 1)
            figures["index_cpu_s"] = round(cpu_s(server), 1)
            print(f"indexed in {figures['index_s']} s", flush=True)
            figures["index_mb"] = round(_size_mb(cache), 0)
        begun = time.monotonic()
        with served(root, cache) as (client, server):
            asked(client, {})
            figures["first_page_s"] = round(time.monotonic() - begun, 2)
            figures["first_page_cpu_s"] = round(cpu_s(server), 2)
            figures |= measured("list", list_queries(client), server)
            figures |= measured("filter", filter_queries(client), server)
            figures |= measured("search", search_queries(client, words), server)
    ok = all(figures[name] <= target for name, target in TARGETS.items())
    print(json.dumps({"name": "browser", "figures": figures, "targets": TARGETS, "ok": ok}))


# ------------------------------------------------------------------------------------- the dataset


def make_dataset(root: Path, people: int) -> list[str]:
    """Write the dataset, and return the words of its texts."""
    draw = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = sorted({"".join(draw.choice(letters, draw.integers(3, 9))) for _ in range(3000)})
    # Some words are far more frequent than others, as in every language.
    weights = 1 / np.arange(1, len(words) + 1)
    chosen = draw.choice(len(words), (60_000, 9), p=weights / weights.sum())
    texts = pa.array([" ".join(words[word] for word in row) for row in chosen])
    with open_writer(root, {}) as writer:
        for first in range(0, people, _BATCH):
            ids = np.arange(first, min(first + _BATCH, people))
            writer.publish(
                {
                    "videos": _videos(np.unique(ids // 10)),
                    "clips": _clips(ids),
                    "annotations": _annotations(ids, texts, draw),
                }
            )
    return words


def _table(name: str, num_rows: int, columns: dict[str, Any]) -> pa.Table:
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(num_rows, field.type)
        for field in SCHEMAS[name]
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMAS[name])


def _videos(ids: np.ndarray[Any, Any]) -> pa.Table:
    paths = [f"/videos/{number // 1000:04d}/video_{number:07d}.mp4" for number in ids]
    return _table("videos", len(ids), {"video_id": [f"v{i:015x}" for i in ids], "path": paths})


def _clips(ids: np.ndarray[Any, Any]) -> pa.Table:
    values = {
        "clip_id": [f"c{i:015x}" for i in ids],
        "video_id": [f"v{i // 10:015x}" for i in ids],
        "start_s": ids % 10 * 10.0,
        "end_s": ids % 10 * 10.0 + 8.0,
        "num_people": (ids % 5 + 1).astype(np.int16),
        "camera": np.where(ids % 3 == 0, "moving", "static"),
        "quality": (ids * 7919 % 1000 / 1000).astype(np.float32),
    }
    return _table("clips", len(ids), values)


def _annotations(ids: np.ndarray[Any, Any], texts: pa.Array, draw: np.random.Generator) -> pa.Table:
    count = len(ids)
    schema = SCHEMAS["annotations"]

    def some(number: int) -> pa.Array:
        return texts.take(pa.array(draw.integers(0, len(texts), count * number)))

    def listed(values: pa.Array, number: int) -> pa.Array:
        offsets = np.arange(0, (count + 1) * number, number, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values)

    def grounding(number: int) -> pa.Array:
        wrong = np.repeat(ids % 8 == 0, number) & (np.arange(count * number) % number == 0)
        verdicts = pa.array(np.where(wrong, "contradicted", "supported"))
        times = pa.array(np.zeros(count * number))
        kinds = schema.field("medium_grounding").type.value_type
        return pa.StructArray.from_arrays(
            [verdicts, some(number), times, times], fields=list(kinds)
        )

    starts = np.tile(np.arange(4) * 2.0, count)
    steps = [some(4), pa.array(starts), pa.array(starts + 1.5), grounding(4)]
    fields = list(schema.field("fine").type.value_type)
    values = {
        "clip_id": [f"c{i:015x}" for i in ids],
        "video_id": [f"v{i // 10:015x}" for i in ids],
        "track_id": np.zeros(count, np.int16),
        "sample": np.zeros(count, np.int16),
        "start_s": ids % 10 * 10.0,
        "end_s": ids % 10 * 10.0 + 8.0,
        "coarse": some(1),
        "medium": listed(some(3), 3),
        "medium_grounding": listed(grounding(3), 3),
        "fine": listed(pa.StructArray.from_arrays(steps, fields=fields), 4),
        "activity": [_ACTIVITIES[i * i % len(_ACTIVITIES)] for i in ids],
        "objects": [[]] * count,
        "grounding_score": np.where(ids % 8 == 0, 0.6, 1.0),
        "outcome": ["success"] * count,
    }
    return _table("annotations", count, values)


# ---------------------------------------------------------------------------------------- queries


@contextmanager
def served(root: Path, cache: Path) -> Generator[tuple[httpx2.Client, psutil.Process]]:
    """Start the command of a user, and wait until the dataset can be listed."""
    command = [str(Path(sys.executable).with_name("avatargpt")), "browse", str(root)]
    process = subprocess.Popen(
        [*command, "--no-open", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={"AVATARGPT_CACHE_DIR": str(cache), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )
    try:
        address = process.stdout.readline().split()[-1] if process.stdout else ""
        with httpx2.Client(base_url=address, timeout=600) as client:
            while "facets" not in client.get("/api/dataset").json():
                time.sleep(0.2)
            yield client, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def asked(client: httpx2.Client, query: dict[str, Any]) -> dict[str, Any]:
    """Ask for a page of the list."""
    answer = client.get("/api/entries", params=query)
    answer.raise_for_status()
    return answer.json()


def list_queries(client: httpx2.Client) -> list[Callable[[], object]]:
    """Return pages in every order, each following the one before."""
    state: dict[str, Any] = {"after": None}
    orders = ("file", "score", "contradicted", "quality", "longest", "shortest")

    def page(sort: str, *, first: bool) -> None:
        after = None if first else state["after"]
        state["after"] = asked(client, {"sort": sort} | ({"after": after} if after else {}))["next"]

    return [
        lambda sort=sort, number=number: page(sort, first=not number)
        for sort in orders
        for number in range(_ASKED // len(orders))
    ]


def filter_queries(client: httpx2.Client) -> list[Callable[[], object]]:
    """Return combinations of filters, each asked once."""
    choose = random.Random(1)  # noqa: S311
    choices = {
        "activity": _ACTIVITIES,
        "verdict": ["contradicted", "supported"],
        "camera": ["static", "moving"],
        "people": list(range(1, 6)),
    }
    made: list[dict[str, Any]] = []
    for _ in range(_ASKED):
        names = choose.sample(sorted(choices), choose.randint(1, 3))
        made.append({name: choose.choice(choices[name]) for name in names})
    return [lambda query=query: asked(client, query) for query in made]


def search_queries(client: httpx2.Client, words: list[str]) -> list[Callable[[], object]]:
    """Return searches of one to three words, of which the last may be half typed."""
    choose = random.Random(2)  # noqa: S311
    made: list[str] = []
    for _ in range(_ASKED):
        some = choose.sample(words[:500] + words, choose.randint(1, 3))
        some[-1] = some[-1][: choose.randint(2, len(some[-1]))]
        made.append(" ".join(some))
    return [lambda text=text: asked(client, {"q": text}) for text in made]


def cpu_s(server: psutil.Process) -> float:
    """Return the seconds that a process has computed."""
    times = server.cpu_times()
    return times.user + times.system


def measured(
    name: str, queries: list[Callable[[], object]], server: psutil.Process
) -> dict[str, float]:
    """Time queries; return milliseconds: median, 95th percentile, and what the server computed.

    Other work on the machine affects the seconds, but hardly what is computed.
    """
    times: list[float] = []
    computed_s = cpu_s(server)
    for query in queries:
        begun = time.monotonic()
        query()
        times.append(1000 * (time.monotonic() - begun))
    median, high = np.percentile(times, [50, 95])
    cpu_ms = 1000 * (cpu_s(server) - computed_s) / len(queries)
    print(f"{name}: median {median:.0f} ms, p95 {high:.0f} ms, CPU {cpu_ms:.0f} ms per query")
    return {
        f"{name}_median_ms": round(float(median)),
        f"{name}_p95_ms": round(float(high)),
        f"{name}_cpu_ms": round(cpu_ms),
    }


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
