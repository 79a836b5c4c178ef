"""Presets: partial configurations are merged field by field, and typos are reported."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from annotators.config import PRESETS as ANNOTATE
from annotators.config import AnnotateConfig
from data.importers.run import PRESETS as MOTIONS
from data.importers.run import MotionImportConfig
from data.presets import PartOf, Presets, merge, parse_assignments, part_model, resolve
from flows.train_all_config import PRESETS as ALL
from flows.train_all_config import TrainAllConfig
from training.language_model.config import PRESETS as LM
from training.language_model.config import TrainMotionLmConfig
from training.tokenizer.tokenize import PRESETS as TOKENIZE
from training.tokenizer.tokenize import TokenizeConfig
from training.tokenizer.train import PRESETS as VQVAE
from training.tokenizer.train import TrainMotionVqvaeConfig

HERE = Path("/the/worker")
EVERY: list[tuple[type[BaseModel], Presets]] = [
    (AnnotateConfig, ANNOTATE),
    (MotionImportConfig, MOTIONS),
    (TrainMotionVqvaeConfig, VQVAE),
    (TokenizeConfig, TOKENIZE),
    (TrainMotionLmConfig, LM),
    (TrainAllConfig, ALL),
]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _strings(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _strings(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(("config_type", "presets"), EVERY)
def test_every_preset_is_whole_and_lies_in_the_home_folder(
    config_type: type[BaseModel], presets: Presets
) -> None:
    for name, values in presets.items():
        config = resolve(config_type, presets, name, {}, HERE).model_dump(mode="json")
        paths = [text for text in _strings(config) if "/" in text and "google/" not in text]
        assert paths
        assert all(text.startswith(f"{HERE}/") for text in paths), (name, paths)
        assert not [text for text in _strings(dict(values)) if text.startswith(("~", "/"))]


def test_the_published_sizes_are_the_published_ones() -> None:
    vqvae = resolve(TrainMotionVqvaeConfig, VQVAE, "paper", {}, HERE)
    assert (vqvae.model.width, vqvae.window, vqvae.loop.batch_size) == (512, 64, 256)
    assert (vqvae.loop.steps, vqvae.loop.warmup_steps) == (300_000, 1000)
    assert vqvae.loop.rate_at(250_000) == pytest.approx(1e-5)
    both = resolve(TrainAllConfig, ALL, "paper", {}, HERE)
    assert both.vqvae.model == vqvae.model
    assert both.vqvae.loop == vqvae.loop
    assert both.lm.model.base == "google/flan-t5-large"
    assert both.lm.loop == resolve(TrainMotionLmConfig, LM, "paper", {}, HERE).loop


def test_tiny_with_other_sources_stays_tiny() -> None:
    tiny = resolve(TrainAllConfig, ALL, "tiny", {}, HERE)
    changed = resolve(TrainAllConfig, ALL, "tiny", {"sources": ["/data"], "root": "/out"}, HERE)
    assert (changed.sources, changed.root) == (("/data",), Path("/out"))
    assert (changed.vqvae, changed.lm, changed.evaluation) == (
        tiny.vqvae,
        tiny.lm,
        tiny.evaluation,
    )
    longer = resolve(TrainAllConfig, ALL, "tiny", {"lm": {"loop": {"steps": 7}}}, HERE)
    assert longer.lm.loop.steps == 7
    assert longer.lm.loop.batch_size == tiny.lm.loop.batch_size
    assert longer.lm.model == tiny.lm.model


def test_production_with_other_videos_keeps_its_models() -> None:
    config = resolve(
        AnnotateConfig,
        ANNOTATE,
        "production",
        {"videos": ["/v"], "captions": {"service": {"base_url": "http://127.0.0.1:1/v1"}}},
        HERE,
    )
    assert config.captions.captioner == config.annotations.annotator == "openai"
    assert config.captions.service is not None
    assert config.captions.service.model == "gpt-4.1-mini"
    assert config.captions.service.base_url == "http://127.0.0.1:1/v1"
    assert config.annotations.grounding.policy == "reask"
    assert config.budget_usd == 20


def test_a_null_is_a_value_only_where_the_configuration_takes_it() -> None:
    changes: dict[str, Any] = {"budget_usd": None, "captions": None, "dry_run": None}
    config = resolve(AnnotateConfig, ANNOTATE, "production", changes, HERE)
    assert config.budget_usd is None
    assert config.captions.captioner == "openai"
    assert config.dry_run is False
    limited = resolve(TrainMotionVqvaeConfig, VQVAE, "small", {"loop": {"max_minutes": None}}, HERE)
    assert limited.loop.max_minutes is None


def test_a_choice_takes_back_what_only_the_other_one_needs() -> None:
    based = resolve(TrainMotionLmConfig, LM, "tiny", {"model": {"base": "/t5"}}, HERE)
    assert based.model.base == "/t5"
    assert based.model.attention_groups == 6
    scratch = {"model": {"scratch": {"width": 64}}}
    assert resolve(TrainMotionLmConfig, LM, "paper", scratch, HERE).model.base == ""
    assert resolve(TrainMotionLmConfig, LM, "tiny", scratch, HERE).model.scratch.layers == 2
    kind = {"model": {"quantizer": {"kind": "ema"}}}
    quantizer = resolve(TrainMotionVqvaeConfig, VQVAE, "small", kind, HERE).model.quantizer
    assert (quantizer.num_quantizers, quantizer.num_codes) == (1, 256)
    kinematic = {"captions": {"captioner": "kinematic"}}
    captions = resolve(AnnotateConfig, ANNOTATE, "production", kinematic, HERE).captions
    assert captions.service is None


def test_without_a_preset_the_changes_are_all_there_is() -> None:
    whole = AnnotateConfig(videos=("v",), dataset=Path("d"))
    assert resolve(AnnotateConfig, ANNOTATE, "", whole, HERE) is whole
    assert resolve(AnnotateConfig, ANNOTATE, "", {"videos": ["v"], "dataset": "d"}, HERE) == whole
    with pytest.raises(ValueError, match="expected none beside a whole AnnotateConfig"):
        resolve(AnnotateConfig, ANNOTATE, "local", whole, HERE)
    with pytest.raises(ValidationError, match="dataset"):
        resolve(AnnotateConfig, ANNOTATE, "", {"videos": ["v"]}, HERE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lm": {"loop": {"stepz": 5}}}, r"lm\.loop\.stepz: .*did you mean lm\.loop\.steps\?"),
        ({"loop": {"steps": 5}}, r"did you mean vqvae\.loop or lm\.loop"),
        (
            {"steps": 5},
            r"mean vqvae\.loop\.steps or lm\.pretraining\.steps or lm\.loop\.steps or "
            r"chooser\.steps\?",
        ),
        ({"xyzzy": 5}, "choose one of sources, "),
        ({"lm": {"loop": 5}}, r"lm\.loop: expected fields of LoopConfig, found 5"),
    ],
)
def test_a_typo_is_named_with_what_may_be_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(TrainAllConfig, ALL, "tiny", changes, HERE)


def test_an_unknown_preset_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="expected one of paper, small, tiny, found 'huge'"):
        resolve(TrainAllConfig, ALL, "huge", {}, HERE)


def test_assignments_are_typed() -> None:
    assigned = parse_assignments(
        TrainAllConfig,
        [
            "lm.loop.steps=500",
            "lm.loop.betas=[0.8, 0.9]",
            "lm.loop.max_minutes=null",
            "lm.model.base=4",
            "vqvae.model.quantizer.kind=fsq",
            "lm.instructions.weights.t2m=2",
            "lm.instructions.weights.m2t=0",
            'sources=["a"]',
        ],
    )
    assert assigned == {
        "lm": {
            "loop": {"steps": 500, "betas": [0.8, 0.9], "max_minutes": None},
            "model": {"base": "4"},
            "instructions": {"weights": {"t2m": 2, "m2t": 0}},
        },
        "vqvae": {"model": {"quantizer": {"kind": "fsq"}}},
        "sources": ["a"],
    }
    # What the parser does not take is a text, which the field refuses by name.
    for text in ("[" * 100_000, "9" * 5000, '"\ud800"'):
        assert parse_assignments(TrainAllConfig, [f"sources={text}"]) == {"sources": text}
    for wrong in ("lm.loop.steps", "=5", "lm..steps=5"):
        with pytest.raises(ValueError, match="expected FIELD=VALUE"):
            parse_assignments(TrainAllConfig, [wrong])
    with pytest.raises(ValueError, match=r"did you mean lm\.loop\.steps"):
        parse_assignments(TrainAllConfig, ["lm.loop.stps=5"])


def test_a_form_shows_every_field_requires_none_and_fills_none_in() -> None:
    schema = TypeAdapter(Annotated[Any, PartOf(TrainMotionVqvaeConfig)]).json_schema()
    assert schema["properties"].keys() == TrainMotionVqvaeConfig.model_fields.keys()
    for section in (schema, *schema["$defs"].values()):
        assert "required" not in section, section["title"]
        assert not [n for n, field in section["properties"].items() if "default" in field]
        assert section["additionalProperties"] is False
    assert schema["$defs"]["LoopConfig"]["properties"]["steps"]["minimum"] == 1
    part_model(TrainMotionVqvaeConfig).model_validate({"loop": {"steps": 5}})
    with pytest.raises(ValidationError):
        part_model(TrainMotionVqvaeConfig).model_validate({"loop": {"steps": "many"}})


def test_merging_changes_neither_side() -> None:
    below = {"a": {"b": 1, "c": 2}}
    above = {"a": {"b": 3}}
    assert merge(None, below, above) == {"a": {"b": 3, "c": 2}}
    assert below == {"a": {"b": 1, "c": 2}}
    assert above == {"a": {"b": 3}}
