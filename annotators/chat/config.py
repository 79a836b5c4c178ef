"""Which models write texts, and how they are reached; apart from the clients, which load slowly."""

import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from data.config import Config

_SECRET: Final = re.compile(r"(?i)(key|token|secret|password|sig)[^&=]*=")
OPENAI_HOST: Final = "api.openai.com"


class SecretInUrlError(RuntimeError):
    """An address holds a user, a password or a key.

    Not a ``ValueError``, which pydantic would tell together with the address.
    """


class ChatConfig(Config):
    """An endpoint, its model, and how it is asked. Holds no secret."""

    model: str = Field(min_length=1, description="Name of the model, as the endpoint knows it.")
    base_url: str | None = Field(
        default=None,
        description="Of an OpenAI-compatible endpoint, e.g. http://127.0.0.1:8000/v1; by default "
        "OpenAI's own.",
    )
    api_key_name: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="Name of the key: an environment variable, <NAME>_FILE, or a Prefect Secret "
        "block (lower case, hyphens).",
    )
    api: Literal["auto", "responses", "chat_completions"] = Field(
        default="auto", description="Protocol; auto: responses at OpenAI, else chat completions."
    )
    structured: Literal["auto", "json_schema", "json_object", "text"] = Field(
        default="auto",
        description="How JSON is asked for; auto: the strictest way that the endpoint accepts.",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="None leaves the model's own."
    )
    max_output_tokens: int = Field(default=1024, ge=16, description="Most tokens of a reply.")
    max_output_tokens_retry: int = Field(
        default=4096, ge=16, description="The same, for one more try of a reply that was cut off."
    )
    timeout_s: float = Field(default=120.0, gt=0, description="Wall-clock limit of one call.")
    max_attempts: int = Field(default=6, ge=1, description="Calls per request, failures included.")
    min_backoff_s: float = Field(default=0.5, gt=0, description="Wait after a first failure.")
    max_backoff_s: float = Field(default=60.0, gt=0, description="Longest wait of one's own.")
    max_concurrency: int = Field(
        default=16, ge=1, le=1024, description="Calls under way at a time; fewer after a 429."
    )
    breaker_failures: int = Field(
        default=20,
        ge=1,
        description="Requests in a row that failed for good before the run stops.",
    )
    batch: bool = Field(
        default=False, description="Use the Batch API: half the price, up to a day's wait."
    )
    batch_poll_s: float = Field(default=30.0, gt=0, description="Between looks at a batch.")
    batch_max_requests: int = Field(default=50_000, ge=1, le=50_000)
    batch_max_bytes: int = Field(default=190_000_000, ge=1_000, le=200_000_000)

    @field_validator("base_url", mode="after")
    @classmethod
    def _refuse_secrets(cls, base_url: str | None) -> str | None:
        parts = urlsplit(base_url or "")
        if "@" in parts.netloc or _SECRET.search(parts.query):
            raise SecretInUrlError(
                "base_url: expected an address alone, found one with a user, a password or a key, "
                "which would be written to logs and datasets. Remedy: leave it out of the address, "
                "and put the key into the environment (api_key_name)."
            )
        return base_url

    def reply_fields(self) -> dict[str, Any]:
        """What of this decides a reply; the rest may change between runs of one dataset."""
        names = {"model", "base_url", "temperature", "max_output_tokens", "max_output_tokens_retry"}
        return self.model_dump(mode="json", include=names)

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own endpoint."""
        return self.base_url is None or urlsplit(self.base_url).hostname == OPENAI_HOST


class LocalVlmConfig(Config):
    """A model and how it answers."""

    model: str = Field(
        min_length=1, description="Folder, or name on the Hugging Face hub, of the model."
    )
    revision: str | None = Field(default=None, description="Of a model on the hub: pin it.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: the GPU where there is one."
    )
    batch_size: int = Field(default=4, ge=1, description="Requests answered together.")
    max_new_tokens: int = Field(default=256, ge=1, description="Most tokens of a reply.")
    temperature: float | None = Field(default=None, gt=0, description="None answers greedily.")
    seed: int = Field(default=0, description="Of sampling, together with a request's number.")

    def reply_fields(self) -> dict[str, Any]:
        """What of this decides a reply."""
        return self.model_dump(mode="json", exclude={"device", "batch_size"})
