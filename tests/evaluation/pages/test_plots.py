import math
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from evaluation.pages.plots import DASH, Plot, bar_plot, histogram, line_plot


def _texts(plot: Plot) -> list[str]:
    root = ET.fromstring(plot.svg)  # noqa: S314 - our own
    return ["".join(element.itertext()) for element in root.iter("text")]


def test_bars_carry_their_labels_and_values_as_text() -> None:
    plot = bar_plot(["walk", "$run$"], {"motions": [1200, math.nan]}, "alt", unit="motions")
    assert {"walk", "$run$", "1,200", DASH, "motions"} <= set(_texts(plot))


def test_bars_are_as_long_as_their_values() -> None:
    svg = bar_plot(["a", "b"], {"n": [10, 20]}, "alt").svg
    outlines = re.findall(r'<path d="([^"]*)"[^>]*fill: var\(--series-1\)', svg)
    lengths: list[float] = []
    for outline in outlines:
        xs = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", outline)]
        lengths.append(max(xs) - min(xs))
    assert lengths[1] == pytest.approx(2 * lengths[0], rel=0.01)


def test_several_series_have_a_legend_and_colors_of_the_page() -> None:
    plot = histogram([0, 1, 2], {"train": [3, 4], "test": [1, 0]}, "alt", x_label="seconds")
    assert {"train", "test", "seconds"} <= set(_texts(plot))
    assert {"var(--series-1)", "var(--series-2)", "var(--muted)"} <= set(
        re.findall(r"var\([^)]*\)", plot.svg)
    )
    assert not re.findall(r"(?:fill|stroke): #", plot.svg)
    assert "font-family" not in plot.svg


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    plot = line_plot({"loss": ([1, 2, 3], [100, 10, 0.1])}, "alt", y_label="loss", log_y=True)
    assert {"100", "10", "1", "0.1"} <= set(_texts(plot))


def test_long_labels_are_cut() -> None:
    (label,) = [text for text in _texts(bar_plot(["x" * 80], {"": [1]}, "")) if "x" in text]
    assert len(label) == 30
    assert label.endswith("…")


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 values, found 1"):
        bar_plot(["a", "b"], {"n": [1]}, "alt")
    with pytest.raises(ValueError, match="expected 2 counts, found 3"):
        histogram([0, 1, 2], {"n": [1, 2, 3]}, "alt")


def test_commands_start_without_matplotlib_and_jinja() -> None:
    script = (
        "import sys, flows.commands.main, evaluation.pages.writing;"
        "print(sorted({'matplotlib', 'jinja2'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
