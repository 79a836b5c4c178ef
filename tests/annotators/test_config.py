"""The configuration of a run: presets, and the settings that determine the rows."""

from pathlib import Path
from typing import Any

import pytest

from annotators.chat.config import ChatConfig, SecretInUrlError
from annotators.config import AnnotateConfig


def _recipe(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"videos": ["v"], "dataset": "d", **more}
    return AnnotateConfig.model_validate(values).recipe("pose-model")


def _models(prompts: Path | None = None, **service: Any) -> dict[str, Any]:
    service = {"model": "m", **service}
    return {
        "captions": {"captioner": "openai", "service": service, "prompts": prompts},
        "annotations": {"annotator": "openai", "service": service},
    }


def test_what_decides_the_rows_is_the_recipe(tmp_path: Path) -> None:
    assert _recipe() == _recipe(budget_usd=3, workers={"num_workers": 1}, retry_rejected=True)
    assert _recipe() != _recipe(clips={"max_clip_s": 5})
    # Settings of the connection may change between runs; those of the replies may not.
    assert _recipe(**_models()) == _recipe(**_models(max_concurrency=2, batch=True, timeout_s=9))
    assert _recipe(**_models()) != _recipe(**_models(temperature=0.5))
    (tmp_path / "repair.txt").write_text("Again: {problems}")
    assert _recipe(**_models()) != _recipe(**_models(tmp_path))
    # The settings of an unused service are not part of the recipe.
    assert _recipe() == _recipe(captions={"service": {"model": "m"}})


@pytest.mark.parametrize("name", ["budget_usd", "budget_tokens"])
def test_a_budget_is_positive(name: str) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        _recipe(**{name: 0})


@pytest.mark.parametrize(
    "address",
    [
        "https://user:secret-word@host/v1",
        "https://secret-word@host/v1",
        "https://host/v1?api_key=secret-word",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_told(address: str) -> None:
    with pytest.raises(SecretInUrlError) as refused:
        ChatConfig(model="m", base_url=address)
    assert "Remedy: " in str(refused.value)
    assert "secret-word" not in str(refused.value)
    assert ChatConfig(model="m", base_url="https://host/v1?api-version=2").base_url
