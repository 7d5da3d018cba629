"""Each file of `examples/` runs and answers as edgecat does.

`plain_onnx.py` and the page for browsers are in test_interop.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real import CHELSEA, COFFEE, ROOT, SAYS_WHEN_IT_WATCHES, killed_after

import edgecat
from edgecat.models import DEFAULT_MODEL

EXAMPLES = ROOT / "examples"
STUBS = ROOT / "tests" / "android"


def run(*command: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def without_chatter(stderr: str) -> list[str]:
    """LiteRT says from C++ that it starts."""
    return [line for line in stderr.splitlines() if not line.startswith(("INFO:", "WARNING:"))]


@contextmanager
def started(*command: object, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with (
        subprocess.Popen(
            [*map(str, command)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        killed_after(60, process),
    ):
        yield process


def test_an_app(tmp_path: Path) -> None:
    code = (EXAMPLES / "app.py").read_text().split('"""\n', 1)[1]
    assert len([line for line in code.splitlines() if line]) <= 10
    (tmp_path / "broken.jpg").write_text("no photo")
    done = run(sys.executable, EXAMPLES / "app.py", CHELSEA, "broken.jpg", COFFEE, folder=tmp_path)
    assert done.stdout.splitlines() == [f"{CHELSEA}: cat, 100%", f"{COFFEE}: neither, 100%"]
    assert without_chatter(done.stderr) == [
        "broken.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)"
    ]


def test_a_watched_folder(tmp_path: Path) -> None:
    shutil.copy(CHELSEA, tmp_path / "old.jpg")
    program = (
        f"{SAYS_WHEN_IT_WATCHES}; import runpy; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    with started(
        sys.executable, "-c", program, EXAMPLES / "watched_folder.py", tmp_path, folder=tmp_path
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "watching\n"
        lines = []
        for name, photo in (("a.jpg", CHELSEA), ("b.jpg", COFFEE)):
            shutil.copy(photo, tmp_path / name)
            lines.append(process.stdout.readline())
    assert lines == ["a.jpg: cat\n", "b.jpg: neither\n"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg")) == [
        "cat/a.jpg",
        "neither/b.jpg",
        "old.jpg",
    ]


def test_a_camera_with_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs edgecat[camera]")
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240)
    )
    for photo in (CHELSEA, COFFEE, CHELSEA):
        writer.write(cv2.resize(cv2.imread(str(photo)), (320, 240)))
    writer.release()
    done = run(sys.executable, EXAMPLES / "camera.py", "clip.avi", folder=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["cat", "neither", "cat"]
    frame = cv2.cvtColor(cv2.VideoCapture(str(tmp_path / "clip.avi")).read()[1], cv2.COLOR_BGR2RGB)
    assert done.stdout.splitlines()[0] == f"cat {edgecat.classify(frame).score:.1%}"


def test_a_raspberry_pis_own_camera(tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text(f"""
import numpy, PIL.Image
class Picamera2:
    photos = iter({[str(CHELSEA), str(COFFEE)]!r})
    def create_video_configuration(self, main): return main
    def configure(self, configuration):
        assert configuration["format"] == "BGR888", "arrays in this format are RGB"
    def start(self): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def capture_array(self, stream):
        photo = next(self.photos, None)
        if not photo: raise SystemExit
        return numpy.asarray(PIL.Image.open(photo))
""")
    done = run(sys.executable, EXAMPLES / "camera_pi.py", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.stdout.splitlines() == ["cat 99.6%", "neither 99.6%"]


def test_an_endpoint_shares_one_classifier() -> None:
    httpx = pytest.importorskip("httpx", reason="needs edgecat[examples]")
    for library in ("fastapi", "uvicorn"):
        pytest.importorskip(library, reason="needs edgecat[examples]")
    with started(
        sys.executable, "-m", "uvicorn", "endpoint:app", "--port", "0", folder=EXAMPLES
    ) as process:
        assert process.stderr
        address = next(
            found[1]
            for line in process.stderr
            if (found := re.search(r"running on (http://\S+)", line))
        )
        with (
            httpx.Client(base_url=address, trust_env=False) as client,
            ThreadPoolExecutor(8) as pool,
        ):
            answers = list(
                pool.map(
                    lambda photo: client.post("/classify", content=photo.read_bytes()),
                    [CHELSEA, COFFEE] * 8,
                )
            )
            assert {answer.status_code for answer in answers} == {200}
            for photo, got in ((CHELSEA, answers[::2]), (COFFEE, answers[1::2])):
                own = edgecat.classify(photo)
                assert [answer.json() for answer in got] == [
                    {"label": own.label, "score": own.score, "scores": dict(own.scores)}
                ] * 8
            refused = client.post("/classify", content=b"no photo")
            assert (refused.status_code, refused.json()) == (
                415,
                {"detail": "bytes: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)"},
            )
            assert client.post("/classify").status_code == 422


@pytest.fixture(scope="module")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    found = importlib.util.find_spec("ai_edge_litert")
    library = Path(found.origin).parent / "libLiteRt.so" if found and found.origin else None
    if library is None or not library.exists():
        pytest.skip("needs LiteRT's library, as ai-edge-litert brings it on Linux")
    program = tmp_path_factory.mktemp("c") / "classify"
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", f"-Wl,-rpath,{library.parent}"]
    run(
        compiler,
        *options,
        EXAMPLES / "c" / "classify.c",
        library,
        "-o",
        program,
        folder=program.parent,
    )
    return program


@pytest.mark.parametrize("photo", [CHELSEA, COFFEE], ids=lambda photo: photo.stem)
def test_c(c_program: Path, tmp_path: Path, photo: Path) -> None:
    with edgecat.Classifier() as classifier:
        Image.fromarray(classifier.pixels(photo)).save(tmp_path / "photo.ppm")
        expected = [f"{label} {score:.6f}" for label, score in classifier.classify(photo).scores]
        labels = classifier.card.labels
    done = run(c_program, DEFAULT_MODEL, "photo.ppm", *labels, folder=tmp_path)
    assert sorted(done.stdout.splitlines()) == sorted(expected)  # to the last digit


def test_c_misuse(c_program: Path, tmp_path: Path) -> None:
    Image.new("RGB", (224, 224)).save(tmp_path / "whole.ppm")
    (tmp_path / "cut.ppm").write_bytes((tmp_path / "whole.ppm").read_bytes()[:-1])
    Image.new("RGB", (64, 64)).save(tmp_path / "small.ppm")
    labels = ["cat", "dog", "neither"]
    for arguments, message in (
        ([DEFAULT_MODEL], "classify: usage: expected MODEL.tflite PHOTO.ppm LABEL..."),
        (
            [DEFAULT_MODEL, "whole.ppm", "cat"],
            f"classify: {DEFAULT_MODEL}: has another number of labels",
        ),
        (
            [DEFAULT_MODEL, "small.ppm", *labels],
            "classify: small.ppm: has another size than the model reads",
        ),
        ([DEFAULT_MODEL, "cut.ppm", *labels], "classify: cut.ppm: is cut off"),
        ([DEFAULT_MODEL, CHELSEA, *labels], f"classify: {CHELSEA}: expected a binary PPM"),
    ):
        done = subprocess.run(
            [c_program, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr.splitlines()


def test_android(tmp_path: Path) -> None:
    """Compile and run it with stand-ins for Android and LiteRT.

    They record the model's input and return fixed outputs.
    """
    for program in ("kotlinc", "java"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    sources = sorted(STUBS.glob("*.kt"))
    run(
        "kotlinc",
        *sources,
        EXAMPLES / "android" / "CatOrDog.kt",
        "-nowarn",
        "-include-runtime",
        "-d",
        "app.jar",
        folder=tmp_path,
    )
    with edgecat.Classifier() as classifier:
        recipe, labels = classifier.card.input, classifier.card.labels
        for name, size in (("small", (451, 300)), ("large", (2000, 1111)), ("tiny", (99, 224))):
            photo = Image.open(CHELSEA).convert("RGB").resize(size)
            photo.save(tmp_path / f"{name}.png")
            scores = np.rint(classifier.run(classifier.tensor(classifier.pixels(photo))) * 256)
            (scores - 128).astype(np.int8).tofile(tmp_path / "answer")
            done = run("java", "-cp", "app.jar", "MainKt", f"{name}.png", folder=tmp_path)
            assert (
                done.stdout
                == "{"
                + ", ".join(
                    f"{label}={score / 256}" for label, score in zip(labels, scores, strict=True)
                )
                + "}\n"
            )
            read = np.fromfile(tmp_path / "read", np.int8).reshape(recipe.height, recipe.width, 3)
            pillow = (
                np.asarray(
                    photo.resize((recipe.width, recipe.height), Image.Resampling.BILINEAR), np.int16
                )
                - 128
            )
            assert np.abs(read - pillow).max() <= 1
            assert (read != pillow).mean() < 0.01
