"""Reconstruction error and foot skate of the `small` motion VQ-VAE on unseen motion.

The data are CMU and Bandai-Namco motion capture, split by subject and content. The script trains
the preset `small` of the tokenizer (with --full also with a single codebook) on this machine for
the preset's minutes. It compares the joints of the test split after feature inversion, with the
pelvis of each frame moved to the origin. Baselines are the mean pose, PCA of 64-frame windows
with as many numbers per window as there are codes, and the same network without its quantizer,
which is what more or better codes could reach.

    .venv/bin/python benchmarks/reconstruction.py [--full] [--draw]

Without --full, `small` trains for six minutes instead of twenty.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from annotators.pictures.stick_figure import draw_motion  # noqa: E402
from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.support.corpus import run_with_corpus  # noqa: E402
from benchmarks.support.rebuilt import Rebuild, measured  # noqa: E402
from data.motion.features import features_to_joints  # noqa: E402
from data.presets import NOTHING, resolve  # noqa: E402
from evaluation.metrics.reconstruction import joint_errors_mm  # noqa: E402
from training.tokenizer.motion_tokenizer import MotionTokenizer, load_tokenizer  # noqa: E402
from training.tokenizer.reconstruction import reconstruction  # noqa: E402
from training.tokenizer.train import PRESETS, TrainMotionVqvaeConfig, train_motion_vqvae  # noqa: E402
from training.tokenizer.windows import MotionArray, PreparedData, prepare_data  # noqa: E402

WINDOW: Final = 64
QUICK_MINUTES: Final = 6.0
TARGETS: Final = {
    "small_usage_held_out": 0.9,
    "small_bandai_foot_skate_m_s": 0.08,
    "small_bandai_mpjpe_mm": 28.0,
    "small_cmu_mpjpe_mm": 70.0,
}
PCA_FIT_WINDOWS: Final = 2000
SINGLE: Final = {"model": {"quantizer": {"kind": "ema"}}}
"""Changes of the preset that leave one codebook."""


def mpjpe_mm(motions: MotionArray, rebuild: Rebuild) -> float:
    """Return the mean root-aligned joint error of whole windows of a split, in mm."""
    errors: list[float] = []
    for motion in motions.motions():
        usable = len(motion) // WINDOW * WINDOW
        for window in motion[:usable].reshape(-1, WINDOW, motion.shape[1]):
            real, made = (
                features_to_joints(w.astype(np.float64)) for w in (window, rebuild(window))
            )
            errors.append(float(joint_errors_mm(real, made).mean()))
    return float(np.mean(errors))


def pca(data: PreparedData, numbers: int) -> Rebuild:
    """Reconstruct windows from the first principal components of the training split."""
    train = data.splits["train"]
    rng = np.random.default_rng(0)
    long = [i for i, n in enumerate(np.diff(train.offsets_N)) if n >= WINDOW]
    windows: list[NDArray[np.float32]] = []
    for index in rng.choice(long, PCA_FIT_WINDOWS):
        motion = train.motion(int(index))
        begin = int(rng.integers(len(motion) - WINDOW + 1))
        windows.append(data.stats.normalize(motion[begin : begin + WINDOW]).ravel())
    flat = torch.from_numpy(np.stack(windows))
    mean = flat.mean(0)
    basis = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:numbers]

    def rebuild(window: NDArray[np.float32]) -> NDArray[np.float32]:
        given = torch.from_numpy(data.stats.normalize(window).ravel()) - mean
        out = (basis.T @ (basis @ given) + mean).numpy().reshape(window.shape)
        return data.stats.denormalize(out)

    return rebuild


def coded(tokenizer: MotionTokenizer) -> Rebuild:
    """Reconstruct windows from their tokens."""
    return lambda window: tokenizer.decode(tokenizer.encode([window])[0])


def uncoded(tokenizer: MotionTokenizer) -> Rebuild:
    """Reconstruct motions from the latents of the encoder, without the quantizer."""
    model, stats = tokenizer.model, tokenizer.stats

    def rebuild(features: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            latents_BLC = model.encoder(stats.normalize(torch.from_numpy(features))[None])
            return stats.denormalize(model.decoder(latents_BLC)[0]).numpy()

    return rebuild


def by_source(test: MotionArray) -> dict[str, MotionArray]:
    """Return the motions of the test split: all of them, and those of each source."""
    sets = {"all": test}
    for name, source in (("cmu", "cmu"), ("bandai", "bandai-namco")):
        kept = np.flatnonzero(np.array(test.sources) == source).tolist()
        sets[name] = gathered([(test.ids[index], test.motion(index)) for index in kept])
    return sets


def gathered(motions: list[tuple[str, NDArray[np.float32]]]) -> MotionArray:
    """Return the motions as one array, with their ids."""
    offsets = np.cumsum([0, *(len(motion) for _, motion in motions)])
    features = np.concatenate([motion for _, motion in motions])
    return MotionArray(features, offsets, tuple(motion_id for motion_id, _ in motions))


def trained(
    name: str, root: Path, minutes: float | None, changes: Mapping[str, Any] = NOTHING
) -> TrainMotionVqvaeConfig:
    """Train the preset `small` in the cache of the benchmarks, or resume its training.

    Args:
        name: name of the run.
        root: dataset.
        minutes: training time; None for that of the preset.
        changes: partial configuration that changes the preset.
    """
    run = f"vqvae-{name}" if minutes is None else f"vqvae-{name}-{minutes:g}min"
    loop = {} if minutes is None else {"max_minutes": minutes}
    where = {"run": CACHE / run, "data": {"dataset": root}, "loop": loop}
    config = resolve(TrainMotionVqvaeConfig, PRESETS, "small", {**where, **changes}, CACHE)
    train_motion_vqvae(config)
    return config


def draw(tokenizer: MotionTokenizer, test: MotionArray, path: Path) -> None:
    """Draw four test motions, each above its reconstruction."""
    chosen = np.linspace(0, len(test) - 1, 6).astype(int)[1:-1]
    rows: list[Image.Image] = []
    for index in chosen.tolist():
        motion = test.motion(index)[:WINDOW]
        motion = motion[: len(motion) // 4 * 4]
        made = coded(tokenizer)(motion)
        for title, features in (("original", motion), ("from tokens", made)):
            pictures = draw_motion(features_to_joints(features), title, [])
            frames = np.linspace(0, len(pictures) - 1, 8).astype(int).tolist()
            strip = Image.new("RGB", (8 * 160, 160), "white")
            for column, frame in enumerate(frames):
                picture = pictures[frame].crop((0, 24, 480, 504)).resize((160, 160))
                strip.paste(picture, (160 * column, 0))
            ImageDraw.Draw(strip).text((6, 4), title, (0, 0, 0), font=ImageFont.load_default(13))
            rows.append(strip)
    sheet = Image.new("RGB", (8 * 160, 160 * len(rows)), "white")
    for number, strip in enumerate(rows):
        sheet.paste(strip, (0, 160 * number))
    sheet.quantize(64).save(path)


def main() -> None:
    """Train the tokenizer, measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the whole preset, and one codebook")
    parser.add_argument("--draw", action="store_true", help="write docs/reconstruction.png")
    arguments = parser.parse_args()
    root = mocap_dataset()
    minutes = None if arguments.full else QUICK_MINUTES
    figures: dict[str, float] = {}
    config = trained("small", root, minutes)
    data = prepare_data(config.data, config.run / "cache")
    sets = by_source(data.splits["test"])
    # Codes stand for what training motions do; all motions kept from it show which of them live.
    parts = [data.splits[split] for split in ("val", "test")]
    held_out = gathered(
        [pair for part in parts for pair in zip(part.ids, part.motions(), strict=True)]
    )
    runs = {"small": config}
    if arguments.full:
        runs["single"] = trained("single", root, None, SINGLE)
    mean = data.stats.mean_D.astype(np.float32)
    told: list[str] = []
    print("\n| test split, mm | all | CMU | Bandai | codes used | perplexity |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, run in runs.items():
        tokenizer = load_tokenizer(run.run)
        whole, train, unseen = (
            reconstruction(tokenizer.model, motions, tokenizer.stats, torch.device("cpu"))
            for motions in (sets["all"], data.splits["train"], held_out)
        )
        errors = {key: mpjpe_mm(motions, coded(tokenizer)) for key, motions in sets.items()}
        numbers = WINDOW // 4 * tokenizer.model.quantizer.num_quantizers
        rebuild = pca(data, numbers)
        baseline = {key: mpjpe_mm(motions, rebuild) for key, motions in sets.items()}
        print(
            f"| {name} | {errors['all']:.1f} | {errors['cmu']:.1f} | {errors['bandai']:.1f} | "
            f"{whole['usage']:.2f} | {whole['perplexity']:.0f} |"
        )
        print(
            f"| PCA, {numbers} numbers a window | {baseline['all']:.1f} | {baseline['cmu']:.1f} | "
            f"{baseline['bandai']:.1f} | | |"
        )
        sources = measured(coded(tokenizer), data.splits["test"])
        limits = measured(uncoded(tokenizer), data.splits["test"])
        for source, key in (("bandai-namco", "bandai"), ("cmu", "cmu")):
            one, limit = sources[source], limits[source]["mpjpe_mm"]
            told.append(
                f"{name}, whole motions of {key}: {one['mpjpe_mm']:.1f} mm ({limit:.1f} mm "
                "without the quantizer), path "
                f"{one['path_mm']:.0f} mm, foot skate {one['foot_skate_m_s']:.3f} m/s (real "
                f"{one['real_foot_skate_m_s']:.3f})"
            )
            figures |= {
                f"{name}_{key}_mpjpe_mm": round(one["mpjpe_mm"], 1),
                f"{name}_{key}_unquantized_mpjpe_mm": round(limit, 1),
                f"{name}_{key}_foot_skate_m_s": one["foot_skate_m_s"],
                f"{name}_{key}_real_foot_skate_m_s": one["real_foot_skate_m_s"],
            }
        figures |= {
            f"{name}_mpjpe_mm": round(whole["mpjpe_mm"], 1),
            f"{name}_window_mpjpe_mm": round(errors["all"], 1),
            f"{name}_cmu_window_mpjpe_mm": round(errors["cmu"], 1),
            f"{name}_usage": round(whole["usage"], 3),
            f"{name}_usage_held_out": round(unseen["usage"], 3),
            f"{name}_usage_train": round(train["usage"], 3),
            f"{name}_perplexity": round(whole["perplexity"], 1),
            f"{name}_train_mpjpe_mm": round(train["mpjpe_mm"], 1),
            f"pca_{numbers}_mpjpe_mm": round(baseline["all"], 1),
        }
    posed = {k: mpjpe_mm(m, lambda w: np.broadcast_to(mean, w.shape)) for k, m in sets.items()}
    print(f"| mean pose | {posed['all']:.1f} | {posed['cmu']:.1f} | {posed['bandai']:.1f} | | |")
    print("\n".join(["", *told]))
    figures["mean_pose_mpjpe_mm"] = round(posed["all"], 1)
    if arguments.draw:
        draw(load_tokenizer(config.run), sets["all"], ROOT / "docs/reconstruction.png")
    targets = {name: value for name, value in TARGETS.items() if name in figures}
    ok = all(
        figures[name] >= target if "usage" in name else figures[name] <= target
        for name, target in targets.items()
    )
    print(json.dumps({"name": "reconstruction", "figures": figures, "targets": targets, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
