"""Configuration of the models that write texts.

It is separate from the clients, because they take long to import.
"""

import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from data.config import Config

_SECRET: Final = re.compile(r"(?i)(key|token|secret|password|sig)[^&=]*=")
OPENAI_HOST: Final = "api.openai.com"


class SecretInUrlError(RuntimeError):
    """A URL contains a user, a password or a key.

    This is not a ``ValueError``, because pydantic would print that together with the URL.
    """


class ChatConfig(Config):
    """An endpoint, its model, and how it is called. It contains no secret."""

    model: str = Field(min_length=1, description="Name of the model at the endpoint.")
    base_url: str | None = Field(
        default=None,
        description="URL of an OpenAI-compatible endpoint, e.g. http://127.0.0.1:8000/v1. The "
        "default is OpenAI.",
    )
    api_key_name: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="Name of the API key: an environment variable, <NAME>_FILE, or a Prefect "
        "Secret block (lower case, hyphens).",
    )
    api: Literal["auto", "responses", "chat_completions"] = Field(
        default="auto",
        description="Protocol. auto uses responses at OpenAI and chat completions elsewhere.",
    )
    structured: Literal["auto", "json_schema", "json_object", "text"] = Field(
        default="auto",
        description="How JSON is requested. auto uses the strictest way the endpoint supports.",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Sampling temperature. None uses the model's default."
    )
    max_output_tokens: int = Field(
        default=1024, ge=16, description="Largest number of tokens of a reply."
    )
    max_output_tokens_retry: int = Field(
        default=4096, ge=16, description="The same limit for one retry of a truncated reply."
    )
    timeout_s: float = Field(default=120.0, gt=0, description="Timeout of one call.")
    max_attempts: int = Field(default=6, ge=1, description="Largest number of calls per request.")
    min_backoff_s: float = Field(default=0.5, gt=0, description="Wait after the first failure.")
    max_backoff_s: float = Field(default=60.0, gt=0, description="Longest wait after a failure.")
    max_concurrency: int = Field(
        default=16, ge=1, le=1024, description="Concurrent calls; fewer after HTTP status 429."
    )
    breaker_failures: int = Field(
        default=20,
        ge=1,
        description="Number of consecutive failed requests that stops the run.",
    )
    batch: bool = Field(
        default=False, description="Use the Batch API: half the price, replies within a day."
    )
    batch_poll_s: float = Field(default=30.0, gt=0, description="Time between polls of a batch.")
    batch_max_requests: int = Field(default=50_000, ge=1, le=50_000)
    batch_max_bytes: int = Field(default=190_000_000, ge=1_000, le=200_000_000)

    @field_validator("base_url", mode="after")
    @classmethod
    def _refuse_secrets(cls, base_url: str | None) -> str | None:
        parts = urlsplit(base_url or "")
        if "@" in parts.netloc or _SECRET.search(parts.query):
            raise SecretInUrlError(
                "base_url: expected a URL without credentials, found one with a user, a password "
                "or a key, which would be written to logs and datasets. Remedy: remove it from the "
                "URL, and put the key into the environment (api_key_name)."
            )
        return base_url

    def reply_fields(self) -> dict[str, Any]:
        """Return the fields that determine a reply. Others may change between runs of a dataset."""
        names = {"model", "base_url", "temperature", "max_output_tokens", "max_output_tokens_retry"}
        return self.model_dump(mode="json", include=names)

    @property
    def is_openai(self) -> bool:
        """Whether the endpoint is OpenAI."""
        return self.base_url is None or urlsplit(self.base_url).hostname == OPENAI_HOST


class LocalVlmConfig(Config):
    """A visual language model in this process, and how it generates replies."""

    model: str = Field(
        min_length=1, description="Folder of the model, or its name on the Hugging Face Hub."
    )
    revision: str | None = Field(default=None, description="Revision of a model on the Hub.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device. auto uses the GPU if there is one."
    )
    batch_size: int = Field(default=4, ge=1, description="Requests per batch.")
    max_new_tokens: int = Field(
        default=256, ge=1, description="Largest number of tokens of a reply."
    )
    temperature: float | None = Field(
        default=None, gt=0, description="Sampling temperature. None decodes greedily."
    )
    seed: int = Field(
        default=0, description="Seed of sampling, combined with the request's number."
    )

    def reply_fields(self) -> dict[str, Any]:
        """Return the fields that determine a reply."""
        return self.model_dump(mode="json", exclude={"device", "batch_size"})
