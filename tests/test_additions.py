"""An engine, a command and a strategy of int8 take as many files as docs/architecture.md says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from real import CHELSEA

import edgecat
from edgecat import Classifier, EngineError, engines

ENGINE = """
from ai_edge_litert.interpreter import Interpreter
from edgecat.engines.tflite import TFLiteEngine

def open_model(path, threads, device="cpu"):
    return TFLiteEngine(Interpreter, "made-up 1.0", path, threads)
"""
COMMAND = '''
import typer

def count(photos: list[str]) -> None:
    """Count photos."""
    print(len(photos), "photos")
'''
ROW = engines.EngineLibrary("made_up", "ai_edge_litert", "pip install made-up")


@pytest.fixture
def made_up_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an engine: its file and its row."""
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")
    (tmp_path / "made_up.py").write_text(ENGINE)
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path)])
    monkeypatch.setitem(engines.ENGINES, "made-up", ROW)


@pytest.mark.usefixtures("made_up_engine")
def test_an_engine_is_one_file_and_one_row() -> None:
    with Classifier(engine="made-up") as classifier:
        result = classifier.classify(CHELSEA)
    assert (result.label, result.engine) == ("cat", "made-up 1.0")
    with Classifier() as classifier:  # the engines above it are better
        assert classifier.engine != "made-up 1.0"
        assert classifier.classify(CHELSEA).label == "cat"


@pytest.mark.usefixtures("made_up_engine")
def test_errors_name_every_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"expected one of litert, .*, onnxruntime, made-up"):
        Classifier(engine="made")
    with pytest.raises(EngineError, match=r"expected litert or .* or made-up"):
        Classifier(engine="onnxruntime")
    library = ROW._replace(library="not_installed")
    monkeypatch.setitem(engines.ENGINES, "made-up", library)
    with pytest.raises(EngineError, match="install one with: pip install made-up"):
        Classifier(engine="made-up")


def shown(folder: Path, *words: str) -> str:
    """Return what a command line prints that has a made-up command and engine."""
    (folder / "count.py").write_text(COMMAND)
    lines = [
        "import sys, edgecat.cli",
        "from edgecat import engines",
        f"edgecat.cli.__path__.append({str(folder)!r})",
        f"engines.ENGINES['made-up'] = engines.EngineLibrary{tuple(ROW)!r}",
        "from edgecat.cli import app",
        "app.COMMANDS += ('count',)",
        f"sys.argv = ['edgecat', *{words!r}]",
        "edgecat.cli.main()",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.replace("│", " ").split())


def test_a_command_is_one_file_and_one_row(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    assert "count Count photos." in shown(tmp_path, "--help")
    assert shown(tmp_path, "count", "a.jpg", "b.jpg") == "2 photos"
    assert "Count photos." in shown(tmp_path, "count", "--help")


def test_help_names_every_engine(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    for command in ("classify", "evaluate", "bench"):
        assert "onnxruntime or made-up; else the best" in shown(tmp_path, command, "--help")


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs edgecat[export]")
def test_a_strategy_of_int8_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from edgecat_export.quantisation import ranges
    from edgecat_export.quantisation.observation import Outputs
    from edgecat_export.quantisation.statistics import Ranges

    def halved(_: object, observed: ranges.Observed, __: object) -> Ranges:
        return {name: (layer.low / 2, layer.high / 2) for name, layer in observed.items()}

    made_up = ranges.Strategy("halved", halved)
    monkeypatch.setattr(ranges, "STRATEGIES", (ranges.STRATEGIES[0], made_up))
    values = np.array([[-2, 6]], np.float32)
    observed = {"scores": Outputs(-2.0, 6.0, values, values[0])}
    recipe = edgecat.InputRecipe(8, 8)
    tried = list(ranges.candidates(None, observed, recipe))
    assert [name for name, _ in tried] == ["min/max ranges", "halved"]
    assert [chosen["scores"] for _, chosen in tried] == [(-2, 6), (-1, 3)]
