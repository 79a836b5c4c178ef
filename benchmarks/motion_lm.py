"""Quality of the `small` motion language model on real data.

The data are CMU and Bandai-Namco motions with their labels as captions, and VirtualHome plans. The
script trains the preset `small` of the motion tokenizer (shared with benchmarks/reconstruction.py)
and of the language model, unless they are trained already, and evaluates on the test splits:

- t2m: activity of the generated motion, as the describer names it, against that of the real motion.
  Baselines are the most frequent activity (chance), the training motion with the nearest text
  (retrieval), and the real motion encoded and decoded by the tokenizer (upper bound).
- m2t: activity of the caption's label.
- m2m: joint error and joint speed of the middle, against linear interpolation between the ends.
- junctions of two test motions, filled by m2m, against concatenated and uncut motions.
- t2s, s2t, ct2t: BLEU and ROUGE, against copying the answer of the nearest training plan.

    .venv/bin/python benchmarks/motion_lm.py [--full] [--items 60] [--draw]

With --full, the tokenizer trains as its preset says and the language model for half an hour.
Without it, each trains for a few minutes, which is too short for good motion.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from annotators.motion.describe import describe_motion  # noqa: E402
from annotators.pictures.stick_figure import draw_strip, save_sheet  # noqa: E402
from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.reconstruction import trained  # noqa: E402
from benchmarks.support.corpus import TEXT, need_corpus, run_with_corpus  # noqa: E402
from data.importers.run import MotionImportConfig, import_motions  # noqa: E402
from data.motion.features import features_to_joints  # noqa: E402
from data.presets import resolve  # noqa: E402
from evaluation.metrics.completion import speed_kept  # noqa: E402
from evaluation.metrics.junctions import Junction, JunctionMeasures, junction_measures  # noqa: E402
from evaluation.metrics.reconstruction import joint_errors_mm  # noqa: E402
from evaluation.metrics.texts import score_texts  # noqa: E402
from training.inference.long_motion import ImagineConfig  # noqa: E402
from training.inference.motion_model import MotionModel  # noqa: E402
from training.instructions.mixture import Mixture  # noqa: E402
from training.instructions.tasks import Codes, Instruction, Task  # noqa: E402
from training.language_model.generation import DRAWN, MAX_MOTION, Request, Sampling, load_motion_lm  # noqa: E402
from training.language_model.train import (  # noqa: E402
    PRESETS,
    TrainMotionLmConfig,
    read_mixture,
    train_motion_lm,
)
from training.loop import has_ended, read_metrics  # noqa: E402
from training.tokenizer.motion_tokenizer import load_tokenizer  # noqa: E402
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions  # noqa: E402

LONG_ENOUGH: Final = 8
"""Minimum number of tokens (1.6 s) of a motion whose junctions are measured."""
PLANNING: Final = (Task.T2S, Task.S2T, Task.CT2T)
STEPS_PER_MINUTE: Final = 70
FULL_MINUTES: Final = 32.0
QUICK_MINUTES: Final = 3.0
"""Training time of each of the two models."""


def configured(full: bool) -> TrainMotionLmConfig:
    """Return the configuration: the preset on the motion capture and the plans."""
    need_corpus()
    minutes = FULL_MINUTES if full else QUICK_MINUTES
    plans = CACHE / "plans"
    import_motions(
        MotionImportConfig(sources=(str(TEXT / "virtualhome_task_steps.json"),), dataset=plans)
    )
    mocap = mocap_dataset()
    tokenizer = trained("small", mocap, None if full else QUICK_MINUTES).run
    tokenize_motions(TokenizeConfig(dataset=mocap, tokenizer=tokenizer))
    changes: dict[str, Any] = {
        "run": CACHE / f"lm-small-{minutes:g}min",
        "dataset": mocap,
        "plans": (plans,),
        "tokenizer": tokenizer,
        # The rate falls to nothing by the end: as many steps as fit into the time on two cores.
        "loop": {
            "steps": round(STEPS_PER_MINUTE * minutes),
            "max_minutes": minutes,
            "validate_every": 200,
            "checkpoint_every": 100,
        },
    }
    return resolve(TrainMotionLmConfig, PRESETS, "small", changes, CACHE)


def words_of(one: Instruction) -> frozenset[str]:
    """Return the words of a prompt."""
    return frozenset(
        w for part in one.prompt if isinstance(part, str) for w in part.lower().split()
    )


def nearest(train: Sequence[Instruction], one: Instruction) -> Instruction:
    """Return the training instruction whose prompt shares the largest fraction of words."""
    own = words_of(one)
    return max(train, key=lambda other: len(own & words_of(other)) / len(own | words_of(other)))


def activity(model: MotionModel, codes: str | Codes) -> str:
    """Return the activity that the describer names."""
    if not codes or isinstance(codes, str):
        return "nothing"
    return describe_motion(features_to_joints(model.decode(codes))).activity


def answers(
    model: MotionModel, asked: Sequence[Instruction], sampling: Sampling | None = None
) -> list[str | Codes]:
    """Return the model's answers; greedy by default."""
    requests = [Request(o.prompt, o.task.answers_motion, int(o.task.answers_motion)) for o in asked]
    return model.lm.answer(requests, sampling)


def text_to_motion(
    model: MotionModel, train: Mixture, asked: Sequence[Instruction], draw: bool
) -> dict[str, float]:
    """Return the fraction of motions with the activity of the real motion of their text."""
    pool = train.all_of(Task.T2M)
    made = answers(model, asked)
    drawn = answers(model, asked, DRAWN)
    real = [activity(model, one.answer) for one in asked]
    found, sampled = ([activity(model, answer) for answer in some] for some in (made, drawn))
    retrieved = [activity(model, nearest(pool, one).answer) for one in asked]
    if draw:
        picture(model, asked, drawn)
    share = {
        "t2m_class": np.mean([a == b for a, b in zip(real, found, strict=True)]),
        "t2m_class_sampled": np.mean([a == b for a, b in zip(real, sampled, strict=True)]),
        "t2m_ended": np.mean([len(answer) < MAX_MOTION for answer in made]),
        "t2m_ended_sampled": np.mean([len(answer) < MAX_MOTION for answer in drawn]),
        "t2m_class_retrieval": np.mean([a == b for a, b in zip(real, retrieved, strict=True)]),
        "t2m_class_chance": Counter(real).most_common(1)[0][1] / len(real),
    }
    return {name: round(float(value), 3) for name, value in share.items()}


def picture(model: MotionModel, asked: Sequence[Instruction], made: Sequence[str | Codes]) -> None:
    """Draw eight frames of each of six generated motions."""
    strips: list[Image.Image] = []
    for index in np.linspace(0, len(asked) - 1, 6).astype(int).tolist():
        codes = made[index]
        assert not isinstance(codes, str)  # noqa: S101 - of t2m
        strips.append(draw_strip(features_to_joints(model.decode(codes)), asked[index].caption))
    save_sheet(strips, ROOT / "docs/text_to_motion.png")


def in_between(model: MotionModel, asked: Sequence[Instruction]) -> dict[str, float]:
    """Compare middles and linear interpolation with the real middle.

    Returns:
        Root-aligned joint errors in mm, and the joint speed relative to the root as a share of that
        of the real middle.
    """
    errors: dict[str, list[float]] = {"m2m": [], "m2m_lines": []}
    speeds: dict[str, list[float]] = {"m2m": [], "m2m_lines": []}
    requests: list[Request] = []
    for one in asked:
        length = len(one.answer)
        requests.append(Request(one.prompt, motion=True, min_length=length, max_length=length))
    for one, middle in zip(asked, model.lm.answer(requests), strict=True):
        head, tail = [part for part in one.prompt if not isinstance(part, str)]
        assert not isinstance(one.answer, str)  # noqa: S101 - of m2m
        assert not isinstance(middle, str)  # noqa: S101
        real, made = (
            features_to_joints(model.decode((*head, *codes, *tail)))
            for codes in (one.answer, middle)
        )
        begin, end = 4 * len(head), 4 * (len(head) + len(one.answer))
        posed = real[begin:end] - real[begin:end, :1]
        share = np.linspace(0, 1, end - begin + 2)[1:-1, None, None]
        before, after = (real[t] - real[t, :1] for t in (begin - 1, end))
        straight = before * (1 - share) + after * share
        own = made[begin:end] - made[begin:end, :1]
        for name, guess in (("m2m", own), ("m2m_lines", straight)):
            errors[name].append(float(joint_errors_mm(posed, guess).mean()))
            kept = speed_kept(posed, guess)
            if kept is not None:
                speeds[name].append(kept)
    figures = {f"{name}_mm": round(float(np.mean(found)), 1) for name, found in errors.items()}
    return figures | {
        f"{name}_speed_kept": round(float(np.mean(found)), 2) for name, found in speeds.items()
    }


def junctions(model: MotionModel, asked: Sequence[Instruction]) -> dict[str, float]:
    """How smoothly test motions follow each other: joined hard, as one stream of tokens, filled.

    Joined hard, each is decoded alone and their features are put together, so that the path goes
    on; beside them the same places in motions that were never cut.
    """
    motions = [one.answer for one in asked if not isinstance(one.answer, str)]
    long = [codes for codes in motions if len(codes) >= LONG_ENOUGH]
    pairs = list(zip(long[::2], long[1::2], strict=False))
    share = ImagineConfig().context
    ends = [
        (one[-round(share * len(one)) :], other[: round(share * len(other))])
        for one, other in pairs
    ]
    middles = model.codes_between(ends, None, Sampling())
    found: dict[str, list[Junction]] = {"uncut": [], "hard": [], "stream": [], "filled": []}
    for (one, other), middle in zip(pairs, middles, strict=True):
        first, second = 4 * len(one), 4 * (len(one) + len(middle))
        ways: dict[str, tuple[NDArray[np.float32], list[int]]] = {
            "uncut": (model.decode(one), [first // 2]),
            "hard": (np.concatenate([model.decode(one), model.decode(other)]), [first]),
            "stream": (model.decode((*one, *other)), [first]),
            "filled": (model.decode((*one, *middle, *other)), sorted({first, second})),
        }
        for name, (features, frames) in ways.items():
            found[name] += junction_measures(features_to_joints(features), frames).junctions
    figures: dict[str, float] = {"junctions": len(pairs)}
    print("| junctions | root jump, mm | joint jump, mm | velocity jump, m/s | foot skate, m/s |")
    print("|---|---:|---:|---:|---:|")
    for name, of_way in found.items():
        measures = JunctionMeasures(tuple(of_way))
        root, joint = (1000 * (v or 0) for v in (measures.root_jump_m, measures.joint_jump_m))
        velocity, skate = measures.velocity_jump_m_s or 0, measures.foot_skate_m_s or 0
        print(f"| {name} | {root:.1f} | {joint:.1f} | {velocity:.2f} | {skate:.3f} |")
        figures |= {
            f"joint_jump_{name}_mm": round(joint, 1),
            f"velocity_jump_{name}_m_s": round(velocity, 3),
        }
    return figures


def planning(model: MotionModel, train: Mixture, test: Mixture, items: int) -> dict[str, float]:
    """Return BLEU-4 and ROUGE-L of plans, and of copying the nearest training plan."""
    figures: dict[str, float] = {}
    for task in PLANNING:
        asked, pool = test.all_of(task, items), train.all_of(task, 2000)
        references = [[str(one.answer)] for one in asked]
        ours = score_texts([str(answer) for answer in answers(model, asked)], references)
        copied = score_texts([str(nearest(pool, one).answer) for one in asked], references)
        figures |= {
            f"{task}_bleu4": round(ours.bleu4, 1),
            f"{task}_bleu4_copy": round(copied.bleu4, 1),
            f"{task}_rouge_l": round(ours.rouge_l, 1),
            f"{task}_rouge_l_copy": round(copied.rouge_l, 1),
        }
    return figures


def main() -> None:
    """Train the models, evaluate them, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="train long enough to move")
    parser.add_argument("--items", type=int, default=60, help="of each task")
    parser.add_argument("--draw", action="store_true", help="write docs/text_to_motion.png")
    arguments = parser.parse_args()
    config = configured(arguments.full)
    if not has_ended(config.run):
        train_motion_lm(config)
    tokenizer = load_tokenizer(config.tokenizer)
    model = MotionModel(load_motion_lm(config.run), tokenizer)
    train, test = (read_mixture(config, tokenizer, name, Counter()) for name in ("train", "test"))
    with torch.inference_mode():
        asked = test.all_of(Task.M2T, arguments.items)
        said = answers(model, asked)
        right = [one.answer == found for one, found in zip(asked, said, strict=True)]
        figures = {
            "steps": read_metrics(config.run)[-1]["step"],
            **text_to_motion(model, train, test.all_of(Task.T2M, arguments.items), arguments.draw),
            "m2t_exact": round(float(np.mean(right)), 3),
            "m2t_chance": round(
                Counter(str(o.answer) for o in asked).most_common(1)[0][1] / len(asked), 3
            ),
            **in_between(model, test.all_of(Task.M2M, arguments.items)),
            **junctions(model, test.all_of(Task.T2M, 2 * arguments.items)),
            **planning(model, train, test, arguments.items),
        }
    for one, found in list(zip(asked, said, strict=True))[:: max(1, len(asked) // 6)]:
        print(f"m2t: expected {one.answer!r}, found {found!r}")
    targets = {"t2m_class": figures["t2m_class_chance"], "m2t_exact": figures["m2t_chance"]}
    ok = all(figures[name] > target for name, target in targets.items())
    print(json.dumps({"name": "motion_lm", "figures": figures, "targets": targets, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
