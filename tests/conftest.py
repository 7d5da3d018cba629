"""What the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real import CHELSEA, COFFEE, SHARED, Run

if TYPE_CHECKING:
    from vision_server import VisionServer


@pytest.fixture
def edgecat(tmp_path: Path) -> Run:
    """Runs the command line in an empty folder, as a user would."""

    def run(
        *arguments: object, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-c",
            "import edgecat.cli; edgecat.cli.main()",
            *map(str, arguments),
        ]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", **environment},
            check=False,
        )
        result = subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mobilenet in every precision and both formats."""
    pytest.importorskip("tf2onnx", reason="needs edgecat[export]")
    from edgecat_export.checkpoint import find_checkpoint
    from edgecat_export.pipeline import Request, export

    folder = tmp_path_factory.mktemp("exported")
    precisions, formats = ["fp32", "fp16", "int8"], ["tflite", "onnx"]
    results = export(Request(find_checkpoint("mobilenet"), folder, precisions, formats))
    assert [result.problems for result in results] == [[]] * 6
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The photos that are kept beside the project, where they are."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, ten frames a second: a cat from second 1 to 3, coffee else."""
    cv2 = pytest.importorskip("cv2", reason="needs edgecat[camera]")
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    cat, coffee = (cv2.resize(cv2.imread(str(photo)), (320, 240)) for photo in (CHELSEA, COFFEE))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for number in range(60):
        writer.write(cat if 10 <= number < 30 else coffee)
    writer.release()
    return path


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials for Cloud Vision, and a cache of the test's own."""
    from asking_cloud import isolate

    isolate(tmp_path, monkeypatch)


@pytest.fixture
def service() -> Iterator[VisionServer]:
    """A server that answers as Cloud Vision does."""
    from vision_server import VisionServer

    with VisionServer() as running:
        yield running
