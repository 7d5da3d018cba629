"""The wheel as a user gets it: small, and able to classify without TensorFlow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from real import CHELSEA, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "-w",
            str(folder),
            str(ROOT),
        ],
        check=True,
    )
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_is_small_and_holds_what_it_should(wheel: Path) -> None:
    assert wheel.stat().st_size < 15_000_000
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "edgecat",
        "edgecat_export",
    }
    for name in (
        "edgecat/models/catdog-int8.tflite",
        "edgecat/py.typed",
        "edgecat/imagenet.txt",
        "edgecat/report/gallery.html.jinja",
        "edgecat/report/page.html.jinja",
        "edgecat/server/openapi.json",
        "edgecat/server/page.css",
        "edgecat/server/page.html",
        "edgecat/server/page.js",
        "edgecat_export/checkpoints/mobilenet.keras",
    ):
        assert name in names
    assert not [name for name in names if name.endswith((".jpg", ".png"))]


def test_a_fresh_environment_classifies_without_tensorflow(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programs = tmp_path / "venv" / "bin"
    subprocess.run(
        [str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check", str(wheel)],
        check=True,
    )
    installed = subprocess.run(
        [str(programs / "pip"), "list", "--format=freeze"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.lower()
    assert "tensorflow" not in installed
    assert "keras" not in installed
    done = subprocess.run(
        [str(programs / "edgecat"), "classify", str(CHELSEA)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.split()[1] == "cat"
    assert done.stderr == ""
    missing = subprocess.run(
        [str(programs / "edgecat"), "export", "mobilenet", "--int8"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert missing.returncode == 1
    assert (
        missing.stderr.splitlines()[-1]
        == "edgecat: exporting needs 'keras'; install it with: pip install 'edgecat[export]'"
    )
    missing = subprocess.run(
        [str(programs / "edgecat"), "serve"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert missing.returncode == 1
    assert re.fullmatch(
        r"edgecat: serving needs '\S+'; install it with: pip install 'edgecat\[serve\]'\n",
        missing.stderr,
    )
    missing = subprocess.run(
        [str(programs / "edgecat"), "classify", str(CHELSEA), "--cloud-vision"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert missing.returncode == 1
    assert re.fullmatch(
        r"edgecat: --cloud-vision needs '\S+'; install it with: pip install 'edgecat\[cloud\]'\n",
        missing.stderr,
    )


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tflite-runtime has no wheels for Python 3.12 and later"
)
def test_tflite_runtime_takes_the_place_of_litert(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programs = tmp_path / "venv" / "bin"
    install = [str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "numpy<2", "pillow", "typer", "tflite-runtime"], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    done = subprocess.run(
        [str(programs / "edgecat"), "classify", str(CHELSEA), "--json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    result = json.loads(done.stdout)
    assert result["label"] == "cat"
    assert result["engine"].startswith("tflite-runtime 2.14")
    wanted = subprocess.run(
        [str(programs / "edgecat"), "classify", str(CHELSEA), "--engine", "litert"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (wanted.returncode, wanted.stderr) == (
        1,
        "edgecat: no engine for .tflite files is installed; install one with: pip "
        "install ai-edge-litert\n",
    )
