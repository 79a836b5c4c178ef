"""Configuration of a Ray cluster whose machines do the work of a run."""

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from data.config import Config

StageName = Literal[
    "ingest",
    "clips",
    "poses",
    "frames",
    "captions",
    "annotations",
    "search",
    "texts",
    "import",
]
"""Stages whose items are worked on by workers; ``frames`` are those that are shown to models, and
``search`` and ``texts`` are stages of an import of motions."""

_ADDRESS: Final = re.compile(r"auto|[^\s:/@]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}|")


class StageResources(Config):
    """What a worker occupies on its machine, and how many there are."""

    num_cpus: float = Field(default=1.0, ge=0, description="CPUs of a worker.")
    num_gpus: float = Field(
        default=0.0, ge=0, description="GPUs of a worker; 0.5 puts two workers on one GPU."
    )
    resources: dict[str, float] = Field(
        default_factory=dict,
        description="Custom resources of a worker; `ray start --resources` gives them to machines.",
    )
    memory_gb: float = Field(
        default=0.0,
        ge=0,
        description="Memory limit of a worker process, such as one that loads a model. 0: "
        "workers.memory_gb.",
    )
    max_workers: int = Field(
        default=0,
        ge=0,
        description="Largest number of workers. 0: as many as the cluster has room for. More than "
        "that makes Ray's autoscaler add machines.",
    )


class ClusterConfig(Config):
    """A Ray cluster and what the workers of each stage occupy. These fields never change rows."""

    address: str = Field(
        default="",
        description="HOST:PORT of the head of the cluster, which this machine has joined; auto: "
        "the cluster that this machine has joined; empty: Ray is started here for the run.",
    )
    workers: StageResources = Field(
        default_factory=StageResources, description="Workers of all stages that are not in stages."
    )
    stages: dict[StageName, StageResources] = Field(
        default_factory=dict,
        description="Workers by stage. Stages with equal resources share their workers.",
    )
    wait_s: float = Field(
        default=600.0,
        gt=0,
        description="How long to wait for a machine with the resources of a worker.",
    )
    include_dashboard: bool = Field(
        default=False,
        description="Start Ray's dashboard on loopback, for which ray[default] must be installed. "
        "Only without address.",
    )
    object_store_mb: int = Field(
        default=200,
        ge=80,
        description="Memory of Ray's object store. Only without address; elsewhere `ray start` "
        "decides.",
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(
                f"address: expected HOST:PORT of the head of a Ray cluster, or auto, found "
                f"{address!r}. Remedy: give the address that `ray start --head` printed; a "
                "machine that has not joined the cluster joins it with `ray start --address`."
            )
        return address

    def of_stage(self, stage: str) -> StageResources:
        """Return what the workers of a stage occupy."""
        # A stage that is not a key has the workers of all others.
        return {**self.stages}.get(stage, self.workers)  # pyright: ignore[reportArgumentType]
