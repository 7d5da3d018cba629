"""`edgecat models`: models of the package, and what lies in a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from real import ROOT, Run

from edgecat.models import DEFAULT_MODEL


def test_what_comes_along_and_what_lies_here(edgecat: Run, tmp_path: Path) -> None:
    shutil.copy(DEFAULT_MODEL, tmp_path / "mine.tflite")
    (tmp_path / "broken.onnx").write_text("hello")
    (tmp_path / "notes.txt").write_text("no model")
    done = edgecat("models")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["name", "precision", "size", "labels", "input", "accuracy", "file"]
    assert lines[0].split()[:4] == ["catdog", "int8", "4.44", "MB"]
    assert "cat, dog, neither  224 x 224" in lines[0]
    assert [line for line in lines if line.endswith("edgecat export efficientnet_lite0")]
    assert lines[-1].endswith("mine.tflite")
    assert lines[-2].endswith("broken.onnx: not a model file; expected .tflite or .onnx")
    assert "notes.txt" not in done.stdout


def test_as_json_one_object_a_line(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    shutil.copy(DEFAULT_MODEL, tmp_path / "exported" / "mine.tflite")
    records = [
        json.loads(line) for line in edgecat("models", "exported", "--json").stdout.splitlines()
    ]
    assert records[0]["file"] == str(DEFAULT_MODEL)
    assert records[0]["use"]
    assert {"edgecat export mobilenet", "edgecat export efficientnet_lite0"} <= {
        record["use"] for record in records[1:-1]
    }
    mine = records[-1]
    assert (mine["file"], mine["use"], mine["bytes"]) == (
        "exported/mine.tflite",
        None,
        DEFAULT_MODEL.stat().st_size,
    )
    assert (mine["name"], mine["precision"], mine["labels"], mine["input"]) == (
        "catdog",
        "int8",
        ["cat", "dog", "neither"],
        [224, 224],
    )
    assert mine["accuracy"] > 0.92


def test_a_folder_that_is_none(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, problem in (("nowhere", "no such folder"), ("file", "not a folder")):
        done = edgecat("models", name)
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            f"edgecat: {name}: {problem}; expected a folder of model files\n",
        )


def test_it_loads_no_host_library() -> None:
    code = (
        "import sys, edgecat.cli\nsys.argv = ['edgecat', 'models']\n"
        "try: edgecat.cli.main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "edgecat_export" in loaded
    assert not loaded & {"keras", "tensorflow", "onnx", "h5py", "ai_edge_litert"}
