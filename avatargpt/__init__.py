"""Public API for notebooks: datasets as DataFrames, motions as arrays, and trained models.

::

    import avatargpt

    findings = avatargpt.audit("HumanML3D")  # what is wrong in any text and motion dataset
    dataset = avatargpt.open_dataset("~/avatargpt/demo")
    poses = dataset.frame("poses")
    joints = avatargpt.joints(poses.iloc[0])  # (T, 22, 3) meters, y up
    model = avatargpt.load_model("~/avatargpt/train/models/latest")
    (features,) = model.t2m("a person kicks")

The API is listed in docs/api.md; other modules of this project may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from avatargpt.names import check_names

if TYPE_CHECKING:
    from avatargpt.audits import audit
    from avatargpt.datasets import FPS, JOINTS, Dataset, animation, features, joints, open_dataset
    from avatargpt.models import Model, load_model
    from training.inference.long_motion import DescribeConfig, ImagineConfig
    from training.language_model.config import Sampling

__all__ = [
    "FPS",
    "JOINTS",
    "Dataset",
    "DescribeConfig",
    "ImagineConfig",
    "Model",
    "Sampling",
    "animation",
    "audit",
    "features",
    "joints",
    "load_model",
    "open_dataset",
]

check_names()

# Models import torch, which takes seconds, so that they are imported lazily.
_OF_MODELS: Final = {"DescribeConfig", "ImagineConfig", "Model", "Sampling", "load_model"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {**dict.fromkeys(_OF_MODELS, "avatargpt.models"), "audit": "avatargpt.audits"}
    return getattr(import_module(homes.get(name, "avatargpt.datasets")), name)


def __dir__() -> list[str]:
    return __all__
