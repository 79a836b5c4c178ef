"""Types of arrays. A name's suffix, or its docstring, states the shape."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""Floats of any precision."""
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]
ImageArray = NDArray[np.uint8]
"""An image or a stack of images: RGB unless stated otherwise."""
