"""TF.js graphs converted to ONNX: a small network gives what NumPy computes."""

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from annotators.objects.tfjs_graph import to_onnx

Array = NDArray[np.float32]


def _node(name: str, op: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def _text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def _numbers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(v) for v in values]}}


def _convolution(stride: int, padding: str, *fused: str) -> dict[str, Any]:
    return {
        "strides": _numbers(1, stride, stride, 1),
        "dilations": _numbers(1, 1, 1, 1),
        "padding": _text(padding),
        "fused_ops": {"list": {"s": [_text(step)["s"] for step in fused]}},
    }


def _graph(
    nodes: list[dict[str, Any]], constants: dict[str, NDArray[Any]], shape: tuple[int, ...]
) -> tuple[bytes, bytes]:
    """Return the two files of a network whose input is ``x``; its floats are stored in 16 bits."""
    sizes = [{"size": str(size)} for size in shape]
    entry = {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": sizes}}}}
    weights: list[dict[str, Any]] = []
    content = b""
    for name, values in constants.items():
        is_float = values.dtype.kind == "f"
        kind = {"dtype": "float32" if is_float else "int32"}
        stored = {"quantization": {"dtype": "float16"}} if is_float else {}
        weights.append({"name": name, "shape": list(values.shape), **kind, **stored})
        content += values.astype("<f2" if is_float else "<i4").tobytes()
    topology = {
        "modelTopology": {"node": [entry, *nodes]},
        "weightsManifest": [{"paths": ["x.bin"], "weights": weights}],
    }
    return json.dumps(topology).encode(), content


def _run(files: tuple[bytes, bytes], output: str, values: Array) -> Array:
    content = to_onnx(*files, [output])
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    network.setInput(values)
    return np.asarray(network.forward(f"out/{output}"), np.float32)


def _same_windows(x: Array, size: int, stride: int) -> Array:
    """Return (H', W', size, size, C) windows of (H, W, C) with the padding that is named SAME."""
    height, width = (-(-length // stride) for length in x.shape[:2])
    spare = [
        max(0, (count - 1) * stride + size - length)
        for count, length in zip((height, width), x.shape[:2], strict=True)
    ]
    pads = [(s // 2, s - s // 2) for s in spare]
    padded = np.pad(x, [*pads, (0, 0)])
    return np.array(
        [
            [
                padded[r * stride : r * stride + size, c * stride : c * stride + size]
                for c in range(width)
            ]
            for r in range(height)
        ]
    )


def _half(values: NDArray[Any]) -> Array:
    return values.astype(np.float16).astype(np.float32)


def test_a_small_network_gives_what_numpy_computes() -> None:
    rng = np.random.default_rng(3)
    kernel, bias = rng.normal(size=(3, 3, 3, 4)), rng.normal(size=4)
    depth, gate = rng.normal(size=(3, 3, 4, 1)), rng.normal(size=4)
    constants = {
        "kernel": kernel,
        "bias": bias,
        "depth": depth,
        "gate": gate,
        "axes": np.array([1, 2]),
        "first": np.array([0, 3, 1, 2]),
        "sizes": np.array([1, 3]),
        "axis": np.array(1),
    }
    nodes = [
        _node(
            "conv",
            "_FusedConv2D",
            "x",
            "kernel",
            "bias",
            **_convolution(2, "SAME", "BiasAdd", "Relu"),
        ),
        _node("deep", "DepthwiseConv2dNative", "conv", "depth", **_convolution(1, "SAME")),
        _node("mean", "Mean", "deep", "axes", keep_dims={"b": True}),
        _node("gated", "Mul", "mean", "deep"),
        _node("sum", "AddV2", "gated", "gate"),
        _node("turned", "Transpose", "sum", "first"),
        _node("split", "SplitV", "turned", "sizes", "axis"),
        _node("soft", "Sigmoid", "split:1"),
    ]
    x = rng.normal(size=(1, 9, 12, 3)).astype(np.float32)
    got = _run(_graph(nodes, constants, x.shape), "soft", x)

    conv = np.einsum("rcijk,ijko->rco", _same_windows(x[0], 3, 2), _half(kernel)) + _half(bias)
    conv = np.maximum(conv, 0)
    deep = np.einsum("rcijk,ijk->rck", _same_windows(conv, 3, 1), _half(depth)[..., 0])
    total = deep * deep.mean(axis=(0, 1)) + _half(gate)
    expected = 1 / (1 + np.exp(-total.transpose(2, 0, 1)[None, 1:]))
    assert got.shape == (1, 3, 5, 6)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_pads_pools_joins_and_enlarges() -> None:
    rng = np.random.default_rng(4)
    constants = {
        "pads": np.array([[0, 0], [1, 1], [1, 1], [0, 0]]),
        "size": np.array([8, 8]),
        "axis": np.array(-1),
        "six": np.array(6.0),
    }
    pool = {
        "ksize": _numbers(1, 3, 3, 1),
        "strides": _numbers(1, 2, 2, 1),
        "padding": _text("VALID"),
    }
    resize = {"align_corners": {"b": False}, "half_pixel_centers": {"b": False}}
    nodes = [
        _node("padded", "PadV2", "x", "pads", "six"),
        _node("pooled", "MaxPool", "padded", **pool),
        _node("low", "Relu6", "pooled"),
        _node("leaky", "LeakyRelu", "pooled", alpha={"f": 0.1}),
        _node("both", "ConcatV2", "low", "leaky", "axis"),
        _node("large", "ResizeBilinear", "both", "size", **resize),
    ]
    x = rng.normal(size=(1, 8, 8, 2), scale=5).astype(np.float32)
    got = _run(_graph(nodes, constants, x.shape), "large", x)

    padded = np.pad(x[0], [(1, 1), (1, 1), (0, 0)], constant_values=6)
    pooled = np.array(
        [
            [padded[2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max(axis=(0, 1)) for c in range(4)]
            for r in range(4)
        ]
    )
    both = np.concatenate(
        [np.clip(pooled, 0, 6), np.where(pooled < 0, 0.1 * pooled, pooled)], axis=2
    )
    between = (both[:, :-1] + both[:, 1:]) / 2
    wide = np.stack([both, np.concatenate([between, both[:, -1:]], axis=1)], axis=2).reshape(
        4, 8, 4
    )
    between = (wide[:-1] + wide[1:]) / 2
    expected = np.stack([wide, np.concatenate([between, wide[-1:]])], axis=1).reshape(8, 8, 4)
    np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_what_is_no_graph_or_has_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a TensorFlow\.js graph"):
        to_onnx(b"{}", b"", ["y"])
    files = _graph([_node("y", "Cosine", "x")], {}, (1, 4, 4, 1))
    with pytest.raises(ValueError, match="found Cosine"):
        to_onnx(*files, ["y"])
    topology, content = _graph([_node("y", "Identity", "x")], {"w": np.zeros(3)}, (1, 4, 4, 1))
    with pytest.raises(ValueError, match="as many bytes"):
        to_onnx(topology, content[:-1], ["y"])
