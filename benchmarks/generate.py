"""Motion tokens per second, against the published way of generating, for the same model.

FLAN-T5-small's size with random weights, 50 motion tokens per prompt. The published way runs the
encoder and the whole decoder prefix again for every token, one sample at a time.

    .venv/bin/python benchmarks/generate.py [--repeats 3]
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from training.instructions.tasks import Task, prompt_of, wordings_of  # noqa: E402
from training.instructions.vocabulary import train_text_tokenizer  # noqa: E402
from training.language_model.config import MotionLmConfig  # noqa: E402
from training.language_model.generation import MotionLanguageModel, Request  # noqa: E402
from training.language_model.model import MotionLm  # noqa: E402

TOKENS: Final = 50
BATCH: Final = 32
TARGETS: Final = {"batch_1_ratio": 8.0, "batch_32_ratio": 40.0}
CAPTIONS: Final = ("a person walks forward", "someone waves with the left hand and sits down")


def build() -> MotionLanguageModel:
    """Build a model of FLAN-T5-small's size."""
    torch.manual_seed(0)
    text = train_text_tokenizer([w for task in Task for w in wordings_of(task)], 1000)
    size = T5Config(
        vocab_size=32_128,
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_decoder_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
    )
    t5 = T5ForConditionalGeneration(size)
    model = MotionLm(MotionLmConfig(), t5, torch.randn(512, 512))
    return MotionLanguageModel(model, text, "none", torch.device("cpu"))


def requests(count: int) -> list[Request]:
    """Make requests of similar lengths; each asks for exactly TOKENS tokens."""
    return [
        Request(
            prompt_of(Task.T2M, wordings_of(Task.T2M)[i % 8], caption=CAPTIONS[i % 2]),
            motion=True,
            min_length=TOKENS,
            max_length=TOKENS,
        )
        for i in range(count)
    ]


@torch.no_grad()
def published(lm: MotionLanguageModel, request: Request) -> tuple[int, ...]:
    """Generate with encoder and whole decoder prefix again for every token."""
    model = lm.model
    words = model.vocabulary
    prompt = torch.tensor([lm.prompt_ids(request.prompt)])
    said = [words.motion_start]
    for _ in range(TOKENS):
        encoded = model.encode(prompt, torch.ones_like(prompt))[0]
        hidden = model.t5.decoder(
            input_ids=torch.tensor([said]), encoder_hidden_states=encoded, use_cache=False
        )[0]
        code = int(model.heads.motion_logits(hidden[:, -1])[0, : words.num_codes].argmax())
        said.append(words.num_text + code)
    return tuple(i - words.num_text for i in said[1:])


def main() -> None:
    """Measure in turns, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    lm = build()
    asked = requests(BATCH)
    same = lm.answer(asked[:1])[0] == published(lm, asked[0])
    rates: dict[str, list[float]] = {"published": [], "batch_1": [], "batch_32": []}
    for repeat in range(arguments.repeats):
        one = asked[repeat % BATCH]
        begin = time.perf_counter()
        published(lm, one)
        rates["published"].append(TOKENS / (time.perf_counter() - begin))
        begin = time.perf_counter()
        lm.answer([one])
        rates["batch_1"].append(TOKENS / (time.perf_counter() - begin))
        begin = time.perf_counter()
        lm.answer(asked)
        rates["batch_32"].append(BATCH * TOKENS / (time.perf_counter() - begin))
    for name, found in rates.items():
        print(f"{name:10} {np.median(found):8.1f} tokens/s")
    figures = {
        "same_tokens": same,
        **{
            f"{name}_ratio": round(
                float(np.median(np.array(rates[name]) / np.array(rates["published"]))), 1
            )
            for name in ("batch_1", "batch_32")
        },
    }
    ok = same and all(figures[name] >= target for name, target in TARGETS.items())
    print(json.dumps({"name": "generate", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    main()
