"""The plots of the report and of training."""

from __future__ import annotations

import base64
import importlib.util
import re

import pytest
from reported import CLOUD

from edgecat.report import systems as reporting
from edgecat.report.comparison import Comparison
from edgecat.report.figures import figures
from edgecat.report.plots import draw_history

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs edgecat[plots]"
)


def test_the_axis_of_very_different_latencies_has_plain_numbers() -> None:
    systems = [
        reporting.system({**CLOUD, "file_bytes": 10**6}, {"photo": ms, "engine": ms / 2})
        for ms in (2.5, 25.0)
    ]
    _, plot = next(figures(Comparison(systems, reporting.made_by(["edgecat"]))))
    drawn = base64.b64decode(plot.image.partition(",")[2]).decode()
    assert {"5", "10", "20"} <= {*re.findall(r">([^<>]+)</text>", drawn)}
    assert "$" not in drawn


def test_a_class_called_like_a_loss_is_drawn_among_the_accuracies() -> None:
    row = {"epoch": 1.0, "training_loss": 1.0, "accuracy": 0.5, "accuracy_hair_loss": 0.5}
    losses, accuracies = draw_history([row], 2).axes
    assert [line.get_label() for line in losses.lines] == ["training"]
    assert [line.get_label() for line in accuracies.lines] == ["mean of classes", "hair_loss"]
