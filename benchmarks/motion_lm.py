"""Quality of the `small` motion language model on real data.

The data are CMU and Bandai-Namco motions with their labels as captions, and VirtualHome plans. The
script trains the preset `small` of the motion tokenizer (shared with benchmarks/reconstruction.py)
and of the language model, unless they are trained already, and evaluates on the test splits:

- t2m: activity of the generated motion, as the describer names it, against that of the real motion.
  Baselines are the most frequent activity (chance), the training motion with the nearest text
  (retrieval), and the real motion encoded and decoded by the tokenizer (upper bound).
- m2t: activity of the caption's label.
- m2m: gaps of 0.5 to 4 s, against straight lines between the ends.
- junctions of two test motions, filled by m2m, against concatenated and uncut motions.
- t2s, s2t, ct2t: BLEU and ROUGE, against copying the answer of the nearest training plan.

    .venv/bin/python benchmarks/motion_lm.py [--full] [--items 60] [--draw]

With --full, both train as their presets say, which takes an hour. Without it, each trains for a few
minutes, which is too short for good motion.
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

from annotators.grounding.chosen import motion_support  # noqa: E402
from annotators.grounding.plain import plain_text  # noqa: E402
from annotators.motion.describe import describe_motion  # noqa: E402
from annotators.pictures.stick_figure import draw_strip, save_sheet  # noqa: E402
from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.reconstruction import trained  # noqa: E402
from benchmarks.support.corpus import TEXT, need_corpus, run_with_corpus  # noqa: E402
from data.importers.run import MotionImportConfig, import_motions  # noqa: E402
from data.motion.features import features_to_joints  # noqa: E402
from data.motion.quality import foot_skate  # noqa: E402
from data.motion.skeleton import FPS  # noqa: E402
from data.presets import resolve  # noqa: E402
from evaluation.metrics.completion import (  # noqa: E402
    displacement,
    mean_displacement,
    mean_speed_kept,
    straight_lines,
)
from evaluation.metrics.distribution import fid  # noqa: E402
from evaluation.metrics.junctions import Junction, JunctionMeasures, junction_measures  # noqa: E402
from evaluation.metrics.plans import score_plans  # noqa: E402
from evaluation.metrics.reconstruction import joint_errors_mm  # noqa: E402
from evaluation.metrics.texts import score_texts  # noqa: E402
from training.inference.long_motion import ImagineConfig  # noqa: E402
from training.inference.motion_model import MotionModel  # noqa: E402
from training.instructions.mixture import Mixture  # noqa: E402
from training.instructions.tasks import (  # noqa: E402
    CODES_PER_S,
    FRAMES_PER_CODE,
    Codes,
    Instruction,
    Task,
    split_steps,
)
from training.language_model.config import BETWEEN, DRAWN, PRESETS, Sampling, TrainMotionLmConfig  # noqa: E402  # noqa: E402
from training.language_model.generation import MAX_MOTION, Request, load_motion_lm  # noqa: E402
from training.language_model.train import read_mixture, train_motion_lm  # noqa: E402
from training.loop import has_ended, read_metrics  # noqa: E402
from training.tokenizer.motion_tokenizer import load_tokenizer  # noqa: E402
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions  # noqa: E402

GAPS_S: Final = (0.5, 1.0, 2.0, 4.0)
CONTEXT: Final = 4
"""Minimum number of tokens (0.8 s) on either side of a gap."""
LONG_ENOUGH: Final = 8
"""Minimum number of tokens (1.6 s) of a motion whose junctions are measured."""
PLANNING: Final = (Task.T2S, Task.S2T, Task.CT2T)
QUICK_MINUTES: Final = 3.0
"""Training time of each of the two models; with --full, that of the preset."""


def configured(full: bool) -> TrainMotionLmConfig:
    """Return the configuration: the preset on the motion capture and the plans."""
    need_corpus()
    minutes = None if full else QUICK_MINUTES
    plans = CACHE / "plans"
    import_motions(
        MotionImportConfig(sources=(str(TEXT / "virtualhome_task_steps.json"),), dataset=plans)
    )
    mocap = mocap_dataset()
    tokenizer = trained("small", mocap, minutes).run
    tokenize_motions(TokenizeConfig(dataset=mocap, tokenizer=tokenizer))
    changes: dict[str, Any] = {
        "run": CACHE / ("lm-small" if minutes is None else f"lm-small-{minutes:g}min"),
        "dataset": mocap,
        "plans": (plans,),
        "tokenizer": tokenizer,
        "loop": {} if minutes is None else {"max_minutes": minutes},
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
    return model.answer(requests, sampling)


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


def in_between(
    model: MotionModel, motions: Sequence[Codes], gap_s: float, items: int
) -> dict[str, dict[str, float]]:
    """Compare ways to fill a gap in the middle of motions, which all are decoded from tokens.

    Args:
        model: trained model.
        motions: tokens of whole motions. Those with less than 0.8 s on either side of the gap are
            not used.
        gap_s: length of the gap, seconds.
        items: maximum number of motions.

    Returns:
        The measures of each way by name, see :class:`Filled`.
    """
    gap = round(gap_s * CODES_PER_S)
    long = [codes for codes in motions if len(codes) >= gap + 2 * CONTEXT]
    if not long:
        return {}
    chosen = [long[n] for n in np.linspace(0, len(long) - 1, min(items, len(long))).astype(int)]
    starts = [(len(codes) - gap) // 2 for codes in chosen]
    ends = [(one[:at], one[at + gap :]) for one, at in zip(chosen, starts, strict=True)]
    drawn = BETWEEN.model_copy(update={"best_of": 1})
    samples = [
        model.codes_between(ends, gap_s, drawn.model_copy(update={"seed": seed}))
        for seed in range(BETWEEN.best_of)
    ]
    ways = {
        "tokens of the real motion": [
            one[at : at + gap] for one, at in zip(chosen, starts, strict=True)
        ],
        "greedy": model.codes_between(ends, gap_s, Sampling()),
        "one sample": samples[0],
        "default": model.codes_between(ends, gap_s),
    }
    span = [slice(FRAMES_PER_CODE * at, FRAMES_PER_CODE * (at + gap)) for at in starts]
    real = [joints_of(model, codes) for codes in chosen]
    made = {
        name: [
            joints_of(model, (*head, *middle, *tail))
            for (head, tail), middle in zip(ends, middles, strict=True)
        ]
        for name, middles in {**ways, **{str(n): some for n, some in enumerate(samples)}}.items()
    }
    several = [made.pop(str(number)) for number in range(len(samples))]
    made["straight lines"] = [lines(*pair) for pair in zip(real, span, strict=True)]
    found = {name: filled(real, some, span) for name, some in made.items()}
    best = [
        displacement(posed(one[part]), np.stack([posed(some[n][part]) for some in several]))
        for n, (one, part) in enumerate(zip(real, span, strict=True))
    ]
    found["one sample"]["best_mm"] = 1000 * mean_displacement(best).best_ade_m
    return found


def joints_of(model: MotionModel, codes: Codes) -> NDArray[np.float64]:
    """Return the joints of tokens, (T, J, 3)."""
    return features_to_joints(model.decode(codes)).astype(np.float64)


def posed(joints_TJ3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return joints relative to the root."""
    return joints_TJ3 - joints_TJ3[:, :1]


def lines(joints_TJ3: NDArray[np.float64], gap: slice) -> NDArray[np.float64]:
    """Return a motion with straight lines between the poses on either side of a gap."""
    straight = joints_TJ3.copy()
    before_J3, after_J3 = joints_TJ3[gap.start - 1], joints_TJ3[gap.stop]
    straight[gap] = straight_lines(before_J3, after_J3, gap.stop - gap.start)
    return straight


def filled(
    real: Sequence[NDArray[np.float64]],
    made: Sequence[NDArray[np.float64]],
    gaps: Sequence[slice],
) -> dict[str, float]:
    """Measure filled gaps.

    Returns:
        error_mm, of the joints relative to the root; speed_kept, their speed relative to that of
        the real motion; velocity_jump_m_s at both ends; foot_skate_m_s; and frechet, the distance
        of the distributions of poses and velocities relative to the root, which needs no evaluator
        network and is not comparable with its FID.
    """
    errors: list[float] = []
    skates: list[float] = []
    jumps: list[Junction] = []
    frames: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for one, other, gap in zip(real, made, gaps, strict=True):
        errors.append(float(joint_errors_mm(posed(one[gap]), posed(other[gap])).mean()))
        around = slice(gap.start - 1, gap.stop + 1)
        skate = foot_skate(other[around], FPS)
        skates += [] if skate is None else [skate]
        jumps += junction_measures(other, [gap.start, gap.stop]).junctions
        for joints_TJ3, rows in zip((one, other), frames, strict=True):
            pose_TD = posed(joints_TJ3[around])[:, 1:].reshape(gap.stop - gap.start + 2, -1)
            # A third of a second makes velocities about as large as poses.
            rows.append(np.hstack([pose_TD[1:], np.diff(pose_TD, axis=0) * FPS / 3]))
    rings = [slice(gap.start - 1, gap.stop + 1) for gap in gaps]
    kept = mean_speed_kept(
        [posed(one[ring]) for one, ring in zip(real, rings, strict=True)],
        [[posed(other[ring])] for other, ring in zip(made, rings, strict=True)],
    )
    return {
        "error_mm": float(np.mean(errors)),
        "speed_kept": kept.value if kept is not None else 0.0,
        "velocity_jump_m_s": JunctionMeasures(tuple(jumps)).velocity_jump_m_s or 0.0,
        "foot_skate_m_s": float(np.mean(skates)),
        "frechet": fid(np.concatenate(frames[1]), np.concatenate(frames[0])),
    }


def gaps(model: MotionModel, motions: Sequence[Codes], items: int) -> dict[str, float]:
    """Print a table of the ways to fill gaps of several lengths; return the figures of some."""
    figures: dict[str, float] = {}
    print("| gap | way | error, mm | speed kept | velocity jump, m/s | foot skate, m/s | Fréchet |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for gap_s in GAPS_S:
        for name, row in in_between(model, motions, gap_s, items).items():
            best = f" (best {row['best_mm']:.1f})" if "best_mm" in row else ""
            print(
                f"| {gap_s:g} s | {name} | {row['error_mm']:.1f}{best} | {row['speed_kept']:.2f} "
                f"| {row['velocity_jump_m_s']:.2f} | {row['foot_skate_m_s']:.3f} "
                f"| {row['frechet']:.3f} |"
            )
            if name in ("default", "straight lines"):
                way = "m2m" if name == "default" else "lines"
                figures |= {
                    f"{way}_{gap_s:g}s_{measure}": round(row[measure], 3)
                    for measure in ("error_mm", "speed_kept", "frechet")
                }
    return figures


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
    """Score plans, and copies of the answer of the nearest training plan.

    Each question is asked once, and has all plans of its goal as references.
    """
    figures: dict[str, float] = {}
    for task in PLANNING:
        questions = test.questions_of(task, items)
        asked, pool = [one for one, _ in questions], train.all_of(task, 2000)
        references = [list(known) for _, known in questions]
        ways = {
            "": [str(answer) for answer in answers(model, asked)],
            "_copy": [str(nearest(pool, one).answer) for one in asked],
        }
        if task is Task.T2S:
            free = answers(model, asked, Sampling(cut_loops=False))
            ways["_free"] = [str(answer) for answer in free]
        for way, found in ways.items():
            scores = score_texts(found, references)
            figures |= {
                f"{task}_bleu4{way}": round(scores.bleu4, 1),
                f"{task}_rouge_l{way}": round(scores.rouge_l, 1),
            }
            if task is Task.T2S:
                plans = score_plans(
                    list(map(split_steps, found)),
                    [list(map(split_steps, known)) for known in references],
                )
                figures |= {
                    f"{task}_step_f1{way}": round(plans.step_f1, 3),
                    f"{task}_looping{way}": round(plans.looping, 3),
                    f"{task}_repeated_steps{way}": round(plans.repeated_steps, 3),
                    f"{task}_distinct{way}": round(plans.distinct, 3),
                }
    return figures


def motions_of(mixture: Mixture) -> list[Codes]:
    """Return the tokens of the different motions of t2m."""
    found = (one.answer for one in mixture.all_of(Task.T2M))
    return list(dict.fromkeys(codes for codes in found if not isinstance(codes, str)))


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
    model = MotionModel(load_motion_lm(config.run), tokenizer, motion_support, plain_text)
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
            **gaps(model, motions_of(test), arguments.items),
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
