"""Who imports whom, and how little `import edgecat` loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from foreign_models import without_zip
from real import ROOT

import edgecat

RUNTIME = sorted((ROOT / "edgecat").rglob("*.py"))
HOST = sorted((ROOT / "export" / "edgecat_export").rglob("*.py"))
# What each folder of edgecat may import; the device is all that is not named here.
DEVICE = {"device"}
MAY_IMPORT = {
    "device": DEVICE,
    "measure": DEVICE | {"measure"},
    "cloud": DEVICE | {"cloud"},
    "watch": DEVICE | {"watch"},
    "server": DEVICE | {"server", "cloud"},
    "report": DEVICE | {"report", "measure", "cloud"},
    "cli": DEVICE | {"measure", "cloud", "watch", "server", "report", "cli"},
}
ENGINE_LIBRARIES = {
    "ai_edge_litert": "litert.py",
    "tflite_runtime": "tflite_runtime.py",
    "tensorflow": "tensorflow_lite.py",
    "onnxruntime": "onnx_runtime.py",
}
WHEN_NEEDED = {
    "measure/network/tflite.py": {"ai_edge_litert"},  # to look into a file of that format
    "measure/network/onnx.py": {"onnx", "google"},
    "measure/peak.py": {
        "ai_edge_litert",
        "flatbuffers",
    },  # to write the model that it measures with
    "report/plots.py": {"matplotlib"},
}
FOR_THE_HOST = {
    "keras",
    "tensorflow",
    "onnx",
    "tf2onnx",
    "h5py",
    "matplotlib",
    "ai_edge_quantizer",
    "flatbuffers",
}
FOR_THE_SERVER = {
    "starlette",
    "uvicorn",
    "httptools",
    "python_multipart",
    "anyio",
    "prometheus_client",
    "pybase64",
}


def imports(path: Path, lazy: bool = True) -> Iterator[str]:
    """Yield the full names of a file's imports.

    `lazy` includes the imports inside functions and for type checkers.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def part(module: str) -> str:
    """Return the part of edgecat that a module, such as edgecat.measure.board, belongs to."""
    _, *inside = module.split(".")
    return inside[0] if inside and inside[0] in MAY_IMPORT else "device"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_part_imports_what_it_may(path: Path) -> None:
    inside, own = str(path.relative_to(ROOT / "edgecat")), part(module_of(path))
    for name in imports(path):
        top = name.split(".")[0]
        if top == "edgecat":
            assert part(name) in MAY_IMPORT[own], f"{inside} imports {name}"
        if top == "edgecat_export":
            assert own == "cli", f"{inside} imports {name}"
        if top in WHEN_NEEDED.get(inside, ()):
            continue
        if top in ENGINE_LIBRARIES:
            assert inside == f"engines/{ENGINE_LIBRARIES[top]}", f"{inside} imports {name}"
        elif top in FOR_THE_HOST:
            raise AssertionError(f"{inside} imports {name}")
        if name.startswith(("google.cloud", "google.api_core", "google.auth", "requests")):
            assert own == "cloud", f"{inside} imports {name}"
        if top == "typer":
            assert own == "cli", f"{inside} imports {name}"
        if top in FOR_THE_SERVER:
            assert own == "server", f"{inside} imports {name}"
    for name in imports(path, lazy=False):
        assert not name.startswith("edgecat_export"), (
            f"{inside} imports {name} when it is loaded, not when it is needed"
        )


def test_no_circle_of_imports() -> None:
    """The imports that Python runs when a module is loaded lead back to none."""
    files = {module_of(path): path for path in RUNTIME if path.name != "__init__.py"}
    below = {}
    for module, path in files.items():
        names = {name for name in imports(path, lazy=False) if name.startswith("edgecat.")}
        below[module] = {
            known for known in files for name in names if f"{name}.".startswith(f"{known}.")
        }
    list(TopologicalSorter(below).static_order())  # raises CycleError


@pytest.mark.parametrize("path", HOST, ids=lambda path: path.name)
def test_the_host_side_uses_the_runtime_but_no_command_line(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(("edgecat.cli", "typer"))]


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_import_edgecat_is_lean() -> None:
    beyond = loaded_by("import edgecat") - loaded_by("import numpy, PIL.Image")
    third_party = {
        name for name in beyond if name not in sys.stdlib_module_names and not name.startswith("_")
    }
    assert third_party == {"edgecat"}
    assert not beyond & {
        "logging",
        "zipfile",
        "asyncio",
        "subprocess",
        "multiprocessing",
        "ssl",
        "unittest",
    }


def test_classifying_on_the_command_line_loads_no_host_library() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")
    photo = ROOT / "tests" / "photos" / "chelsea.jpg"
    loaded = loaded_by(
        f"import sys, edgecat.cli\nsys.argv = ['edgecat', 'classify', {str(photo)!r}]\n"
        "try: edgecat.cli.main()\nexcept SystemExit: pass"
    )
    assert "ai_edge_litert" in loaded
    assert not loaded & (FOR_THE_HOST - {"flatbuffers"} | FOR_THE_SERVER | {"grpc", "requests"}), (
        loaded & FOR_THE_HOST
    )  # LiteRT brings flatbuffers


def test_labelling_a_foreign_model_loads_no_host_library(tmp_path: Path) -> None:
    path = tmp_path / "theirs.tflite"
    path.write_bytes(without_zip())
    arguments = ["edgecat", "label", str(path), "--labels", "cat,dog,neither"]
    loaded = loaded_by(
        f"import sys, edgecat.cli\nsys.argv = {arguments!r}\n"
        "try: edgecat.cli.main()\nexcept SystemExit: pass"
    )
    assert (tmp_path / "theirs-labelled.tflite").exists()
    assert not loaded & (FOR_THE_HOST - {"flatbuffers"}), loaded & FOR_THE_HOST


def test_public_names() -> None:
    assert edgecat.__all__ == sorted(edgecat.__all__)
    assert all(hasattr(edgecat, name) for name in edgecat.__all__)


def test_export_is_a_plain_folder() -> None:
    assert not (ROOT / "export" / "__init__.py").exists()


def test_the_map_names_files_that_exist() -> None:
    """docs/architecture.md: paths are of the checkout, or below the folders that it speaks of."""
    named = re.findall(r"`([\w/]+\.py|[\w/]+/)`", (ROOT / "docs" / "architecture.md").read_text())
    host = ROOT / "export" / "edgecat_export"
    folders = ("formats", "quantisation", "training")
    below = [ROOT, ROOT / "edgecat", host, *(host / folder for folder in folders)]
    missing = [name for name in named if not any((at / name).exists() for at in below)]
    assert len(named) > 20
    assert not missing
