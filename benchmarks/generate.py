"""Motion tokens per second, against the fair and the published way, for models of the same size.

FLAN-T5-small's size with random weights, 50 motion tokens per prompt. The published way runs the
encoder and the whole decoder prefix again for every token, one sample at a time. The fair way is
the same T5 as it is used by MotionGPT and others: motion tokens are added to its vocabulary, and
`generate` of transformers answers with its cache, in batches.

    .venv/bin/python benchmarks/generate.py [--repeats 3]
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from training.instructions.tasks import Task, prompt_of, wordings_of  # noqa: E402
from training.instructions.vocabulary import (  # noqa: E402
    NUM_SPECIAL_CODES,
    train_text_tokenizer,
)
from training.language_model.batches import pad_prompts  # noqa: E402
from training.language_model.config import MotionLmConfig  # noqa: E402
from training.language_model.generation import MotionLanguageModel, Request  # noqa: E402
from training.language_model.model import MotionLm  # noqa: E402

TOKENS: Final = 50
BATCH: Final = 32
TARGETS: Final = {
    "batch_1_ratio": 8.0,
    "batch_32_ratio": 40.0,
    "batch_1_fair_ratio": 1.2,
    "batch_32_fair_ratio": 1.2,
}
TEXT_IDS: Final = 32_128
NUM_CODES: Final = 512
CAPTIONS: Final = ("a person walks forward", "someone waves with the left hand and sits down")


def build() -> MotionLanguageModel:
    """Build a model of FLAN-T5-small's size."""
    text = train_text_tokenizer([w for task in Task for w in wordings_of(task)], 1000)
    t5 = random_t5(TEXT_IDS)
    model = MotionLm(MotionLmConfig(), t5, torch.randn(NUM_CODES, 512))
    return MotionLanguageModel(model, text, "none", torch.device("cpu"))


def random_t5(ids: int) -> T5ForConditionalGeneration:
    """Build a T5 of FLAN-T5-small's size with a number of ids."""
    torch.manual_seed(0)
    # Its types do not know the settings that all models have.
    values: dict[str, Any] = {"tie_word_embeddings": False, "decoder_start_token_id": 0}
    size = T5Config(
        vocab_size=ids,
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_decoder_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
        **values,
    )
    return T5ForConditionalGeneration(size).eval()


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


@torch.no_grad()
def fair(t5: T5ForConditionalGeneration, prompts: list[list[int]]) -> int:
    """Generate with transformers alone, and return the number of new tokens."""
    ids_BS, mask_BS = pad_prompts(prompts)
    settings = GenerationConfig(
        min_new_tokens=TOKENS,
        max_new_tokens=TOKENS,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        do_sample=False,
        use_cache=True,
    )
    t5_: Any = t5  # the types of generate do not know all keywords
    out_BL = t5_.generate(input_ids=ids_BS, attention_mask=mask_BS, generation_config=settings)
    return out_BL[:, 1:].numel()


def main() -> None:
    """Measure in turns, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    lm = build()
    # Text and motion tokens share one softmax, and the model has seen none of either.
    plain = random_t5(TEXT_IDS + NUM_CODES + NUM_SPECIAL_CODES)
    asked = requests(BATCH)
    same = lm.answer(asked[:1])[0] == published(lm, asked[0])
    prompts = [lm.prompt_ids(request.prompt) for request in asked]
    complete = fair(plain, prompts[:1]) == TOKENS
    ways = ("published", "fair, batch_1", "fair, batch_32", "batch_1", "batch_32")
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(arguments.repeats):
        one = asked[repeat % BATCH]
        begin = time.perf_counter()
        published(lm, one)
        rates["published"].append(TOKENS / (time.perf_counter() - begin))
        for size in (1, BATCH):
            chosen = prompts[:size] if size > 1 else [prompts[repeat % BATCH]]
            begin = time.perf_counter()
            made = fair(plain, chosen)
            rates[f"fair, batch_{size}"].append(made / (time.perf_counter() - begin))
        begin = time.perf_counter()
        lm.answer([one])
        rates["batch_1"].append(TOKENS / (time.perf_counter() - begin))
        begin = time.perf_counter()
        lm.answer(asked)
        rates["batch_32"].append(BATCH * TOKENS / (time.perf_counter() - begin))
    for name, found in rates.items():
        print(f"{name:15} {np.median(found):8.1f} tokens/s")
    figures: dict[str, Any] = {"same_tokens": same, "complete": complete}
    for name in ("batch_1", "batch_32"):
        ours = np.array(rates[name])
        figures[f"{name}_ratio"] = round(float(np.median(ours / np.array(rates["published"]))), 1)
        others = np.array(rates[f"fair, {name}"])
        figures[f"{name}_fair_ratio"] = round(float(np.median(ours / others)), 2)
    ok = (same and complete) and all(figures[name] >= target for name, target in TARGETS.items())
    print(json.dumps({"name": "generate", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    main()
