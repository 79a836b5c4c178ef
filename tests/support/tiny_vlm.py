"""A tiny SmolVLM with random weights and its processor, saved as a user's model folder is."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

from annotators.chat.local import for_stills

IMAGE_PX = 64
PATCH_PX = 16
SCALE_FACTOR = 2
TOKENS_PER_IMAGE = (IMAGE_PX // PATCH_PX // SCALE_FACTOR) ** 2

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SPECIAL = (
    *("<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<global-img>"),
    "<end_of_utterance>",
)


def save_tiny_smolvlm(folder: Path) -> Path:
    """Make the model; a byte-level vocabulary, so that every text can be said."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: index for index, word in enumerate((*SPECIAL, *alphabet))}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        additional_special_tokens=list(SPECIAL[3:]),
    )
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": IMAGE_PX},
        max_image_size={"longest_edge": IMAGE_PX},
        do_image_splitting=False,
    )
    processor = for_stills(SmolVLMProcessor)(
        images, tokenizer, None, image_seq_len=TOKENS_PER_IMAGE, chat_template=TEMPLATE
    )
    processor.save_pretrained(folder)
    config = SmolVLMConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": IMAGE_PX,
            # Wide enough that what is shown changes what is said.
            "initializer_range": 0.3,
            "patch_size": PATCH_PX,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "initializer_range": 0.3,
            "vocab_size": len(words),
            "max_position_embeddings": 4096,
            "pad_token_id": words["<pad>"],
            "bos_token_id": words["<s>"],
            "eos_token_id": words["<end_of_utterance>"],
        },
        scale_factor=SCALE_FACTOR,
        image_token_id=words["<image>"],
    )
    torch.manual_seed(0)
    model = SmolVLMForConditionalGeneration(config)
    model.generation_config.eos_token_id = words["<end_of_utterance>"]
    model.generation_config.pad_token_id = words["<pad>"]
    model.save_pretrained(folder)
    return folder
