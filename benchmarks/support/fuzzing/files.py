"""Mutated datasets, models, configurations, and files of the AvatarGPT release."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from benchmarks.support.fuzzing.motions import import_all
from benchmarks.support.fuzzing.mutations import mutated_bytes, mutated_json, write
from benchmarks.support.fuzzing.running import Batch, command, in_fork

_CONFIG: Final[dict[str, Any]] = {
    "clips": {"max_clip_s": 6.0, "min_clip_s": 1.0},
    "poses": {"max_people": 2, "min_quality": 0.3},
    "captions": {"captioner": "kinematic", "frames_per_clip": 8},
    "annotations": {"annotator": "rules", "num_medium": 3, "grounding": {"policy": "strict"}},
    "workers": {"num_workers": 1, "memory_gb": 2.0},
    "prices": {"my-model": {"input_usd": 0.4, "output_usd": 1.6}},
    "budget_usd": 5.0,
}
_LOOP: Final[dict[str, Any]] = {
    "loop": {"steps": 10, "batch_size": 4, "learning_rate": 1e-3, "drop_at": [3]},
    "model": {"width": 32, "quantizer": {"num_codes": 64}},
    "window": 32,
}
_FIELDS: Final = (
    *("clips.max_clip_s", "poses.max_people", "captions.frames_per_clip", "budget_usd", "videos"),
    *("annotations.num_medium", "workers.num_workers", "prices", "shard", "clips", "clips.nothing"),
    *("clips.max_clip_s.deeper", "", ".", "..", "a.b.c", "captions.service.base_url", "__class__"),
    *("poses.external.command", "workers.cluster.address", "poses.estimator", "concurrency_limit"),
)
_VALUES: Final = (
    *("6", "-1", "0", "NaN", "1e999", "Infinity", "null", "true", "[]", "{}", '"text"', "text", ""),
    *('{"a": 1, "a": 2}', "[" * 50_000, "9" * 5000, "1" + "0" * 400, "\ud800", "=", "a=b=c"),
    *("http://user:secret@host/v1", "javascript:alert(1)", "../..", "3/16", "0/0", "17/16"),
    *("\x00", "1/9e9"),
    *("'", "`", "\u202e", "[1,", "{", '{"max_clip_s": "x"}', "a" * 100_000),
)
_READERS: Final = (
    *(("check",), ("status",), ("rejections",), ("rejections", "--list"), ("versions",)),
    *(("status", "--json"), ("check", "--json")),
)
_WRITERS: Final = (("compact",), ("collect",), ("card", "--license", "CC0"))


def release_batches(folder: Path, rng: Random, count: int) -> Iterator[Batch]:
    """Files of the AvatarGPT release."""
    caption = {"detail": "Walk.", "executable": "1. stand up\n2. walk", "simplified": ["Walk."]}
    times = {"start_time": 0, "end_time": 10, "start_frame": 0, "end_frame": 250}
    segments = [{**times, "captions": [caption, caption]}]
    release = {
        "video_name": "v.mp4",
        "video_fps": 25,
        "description": ["A person in a park."],
        "caption_list": segments,
    }
    for number in range(count):
        told, data = mutated_json(release, rng)
        path = write(folder / f"release{number}.json", data)
        root = folder / f"dataset{number}"
        act = command("import-avatargpt", path, "--dataset", root)
        yield Batch("AvatarGPT", (told,), act, root)


def config_batches(folder: Path, rng: Random, files: int, assignments: int) -> Iterator[Batch]:
    """Files of ``--config`` and values of ``--set``: checked, or refused before any work."""
    for number in range(files):
        flow, values = rng.choice((("annotate", _CONFIG), ("train-motion-vqvae", _LOOP)))
        told, data = mutated_json(values, rng)
        path = write(folder / f"config{number}.json", data)
        yield Batch("configuration", (told,), partial(_check, flow, path, ()))
    for _ in range(assignments):
        text = f"{rng.choice(_FIELDS)}={rng.choice(_VALUES)}"
        if rng.random() < 0.1:
            text = text.replace("=", "")
        told = text if len(text) < 60 else f"{text[:60]}…"
        yield Batch("assignments", (ascii(told),), partial(_check, "annotate", None, (text,)))


def _check(flow: str, file: Path | None, assignments: tuple[str, ...]) -> None:
    """Resolve a configuration as a command does it before it starts anything."""
    from flows.commands.running import FLOWS  # noqa: PLC0415 - imports slowly

    options = {"dataset": "/nowhere", "videos": ["/nowhere.mp4"]} if flow == "annotate" else {}
    if flow == "train-motion-vqvae":
        options = {"run": "/nowhere", "data": {"dataset": "/nowhere"}}
    known = FLOWS[flow]
    preset = known.preset_names[0] if flow == "train-motion-vqvae" else ""
    known.check(preset, known.changes(file, assignments, options))


def dataset_batches(folder: Path, rng: Random, count: int) -> Iterator[Batch]:
    """Datasets with something wrong, and commands that read or write them."""
    base = folder / "base"
    in_fork(partial(import_all, ("procedural:6",), base))
    in_fork(partial(import_all, ("procedural:9",), base))
    for number in range(count):
        root = folder / str(number) / "dataset"
        shutil.copytree(base, root)
        told = _damage(root, rng)
        action = rng.choice(("read", "read", "read", "write", "merge", "diff", "import", "open"))
        if action == "read":
            verb, *options = rng.choice(_READERS)
            act = command(verb, root, *options)
        elif action == "write":
            verb, *options = rng.choice(_WRITERS)
            act = command(verb, root, *options)
        elif action == "merge":
            verb = "merge"
            act = command("merge", root, base, "--dataset", folder / str(number) / "merged")
        elif action == "diff":
            verb = "diff"
            act = command("diff", root, base)
        elif action == "import":
            verb = "import-motions from it"
            act = partial(import_all, (root,), folder / str(number) / "imported")
        else:
            verb = "open"
            act = partial(_open, root)
        written = {"merge": "merged", "import": "imported"}.get(action, "none")
        output = folder / str(number) / written
        yield Batch("datasets", (f"{told}; {verb}",), act, output, given=root)


def _open(root: Path) -> None:
    """Read everything, as a user's own program does."""
    from data.store.dataset import Dataset  # noqa: PLC0415 - imports slowly

    dataset = Dataset(root)
    for table in dataset.manifest["tables"]:
        dataset.read(table)
        dataset.frame(table)


def _damage(root: Path, rng: Random) -> str:
    manifest = root / "dataset.json"
    parts = sorted(root.glob("*/part-*.parquet"))
    action = rng.choice(
        ("manifest", "manifest", "manifest", "part", "part", "escape", "swap", "link", "journal")
    )
    if action == "manifest":
        told, data = mutated_json(json.loads(manifest.read_text()), rng)
        manifest.write_bytes(data)
        return f"manifest: {told}"
    if action == "part":
        part = rng.choice(parts)
        told, data = mutated_bytes(part.read_bytes(), rng)
        part.write_bytes(data)
        return f"part: {told}"
    if action == "escape":
        values = json.loads(manifest.read_text())
        names = ("../../../etc/passwd", "/etc/passwd", "motions/../x.parquet", "motions\\x", "\x00")
        values["tables"]["motions"]["parts"][0]["file"] = rng.choice(names)
        manifest.write_text(json.dumps(values))
        return "a part elsewhere"
    if action == "swap":
        import pyarrow as pa  # noqa: PLC0415 - imports slowly
        import pyarrow.parquet as pq  # noqa: PLC0415

        pq.write_table(pa.table({"a": [1, 2], "motion_id": [None, "x"]}), rng.choice(parts))
        return "a part with other columns"
    if action == "link":
        part = rng.choice((*parts, manifest, parts[0].parent))
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        part.symlink_to(rng.choice(("/etc/passwd", "/", part.name, "/nowhere")))
        return f"{part.name} is a link"
    values = json.loads(manifest.read_text())
    journal = {"moves": ["motions/part-000009.parquet"], "manifest": values}
    told, data = mutated_json(journal, rng)
    write(root / ".staging" / "journal.json", data)
    return f"journal: {told}"


def model_batches(folder: Path, rng: Random, count: int) -> Iterator[Batch]:
    """Folders of models with something wrong, asked for a caption."""
    if not count:
        return
    base, motion = in_fork(partial(_make_model, folder / "made")), folder / "motion.npy"
    from data.motion.features import joints_to_features  # noqa: PLC0415 - imports slowly
    from data.synthetic.activities import generate_motion  # noqa: PLC0415

    np.save(motion, joints_to_features(generate_motion("walk_forward", 1, 3.0)[0]))
    for number in range(count):
        model = folder / str(number) / base.name
        shutil.copytree(base, model)
        files = sorted(path for path in model.rglob("*") if path.is_file())
        path = rng.choice(files)
        action = rng.choice(("mutate", "mutate", "mutate", "gone", "pickle", "link", "folder"))
        told = f"{path.relative_to(model)}: {action}"
        if action == "mutate" and path.suffix == ".json":
            name, data = mutated_json(json.loads(path.read_text()), rng)
            path.write_bytes(data)
            told += f" {name}"
        elif action == "mutate":
            name, data = mutated_bytes(path.read_bytes(), rng)
            path.write_bytes(data)
            told += f" {name}"
        else:
            data = path.read_bytes()
            path.unlink()
            if action == "pickle":
                write(path, b"cos\nsystem\n(S'touch pwned'\ntR.")
            elif action == "link":
                path.symlink_to("/nowhere")
            elif action == "folder":
                path.mkdir()
        act = command("m2t", motion, "--model", model)
        yield Batch("models", (told,), act, given=model)
    if Path("pwned").exists():
        raise AssertionError("a pickle ran code")


def _make_model(folder: Path) -> Path:
    """Train the smallest model there is for a few steps."""
    from evaluation.model_report.config import EvaluationConfig  # noqa: PLC0415 - imports slowly
    from evaluation.model_report.evaluate import Evaluated  # noqa: PLC0415
    from evaluation.model_report.tables import (  # noqa: PLC0415
        FORMAT,
        EvaluationReport,
        Provenance,
    )
    from evaluation.versions import write_model  # noqa: PLC0415
    from training.checkpoints import read_checkpoint  # noqa: PLC0415
    from training.language_model.config import KIND as LM_KIND  # noqa: PLC0415
    from training.language_model.config import TrainMotionLmConfig  # noqa: PLC0415
    from training.language_model.train import train_motion_lm  # noqa: PLC0415
    from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND  # noqa: PLC0415
    from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions  # noqa: PLC0415
    from training.tokenizer.train import (  # noqa: PLC0415
        TrainMotionVqvaeConfig,
        train_motion_vqvae,
    )

    root = folder / "dataset"
    splits = {"train": 0.5, "val": 0.25, "test": 0.25}
    import_all(("procedural:24:5",), root, splits=splits)
    loop: dict[str, Any] = {
        "steps": 2,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "validate_every": 2,
        "checkpoint_every": 2,
        "threads": 1,
        "tensorboard": False,
    }
    vqvae = train_motion_vqvae(
        TrainMotionVqvaeConfig.model_validate(
            {
                "run": folder / "vqvae",
                "data": {"dataset": root},
                "model": {"width": 32, "depth": 1, "quantizer": {"num_codes": 64, "code_dim": 32}},
                "window": 32,
                "loop": loop,
            }
        )
    ).run
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=vqvae))
    size = {"width": 32, "ff_width": 64, "layers": 1, "heads": 2, "dropout": 0.0, "num_pieces": 400}
    lm = train_motion_lm(
        TrainMotionLmConfig.model_validate(
            {
                "run": folder / "lm",
                "dataset": root,
                "tokenizer": vqvae,
                "model": {"scratch": size},
                "validation_items": 2,
                "loop": loop,
            }
        )
    ).run
    report = EvaluationReport(
        metrics={},
        items={},
        examples={},
        format=FORMAT,
        measured=Provenance(
            model="none",
            code_version="0",
            config=EvaluationConfig().model_dump(mode="json"),
            dataset="/nowhere",
            plans=(),
            hashes={},
            seeds={},
        ),
    )
    parts = read_checkpoint(vqvae, VQVAE_KIND), read_checkpoint(lm, LM_KIND)
    return write_model(folder / "models", *parts, Evaluated(report, (), ()))
