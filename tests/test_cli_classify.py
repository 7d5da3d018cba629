"""`edgecat classify`, as a user and as a program meet it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from real import CHELSEA, COFFEE, Run

from edgecat.models import DEFAULT_MODEL


def test_one_photo(edgecat: Run) -> None:
    done = edgecat("classify", CHELSEA)
    assert done.returncode == 0
    assert done.stdout.split()[1] == "cat"
    assert done.stderr == ""


def test_json_has_one_object_a_line(edgecat: Run) -> None:
    done = edgecat("classify", CHELSEA, COFFEE, "--json")
    cat, coffee = (json.loads(line) for line in done.stdout.splitlines())
    assert (cat["photo"], cat["label"], cat["group"]) == (str(CHELSEA), "cat", "cat")
    assert set(cat["scores"]) == {"cat", "dog", "neither"}
    assert cat["score"] == cat["scores"]["cat"] > 0.9
    assert cat["engine"].startswith(("LiteRT ", "tflite-runtime "))
    assert coffee["label"] == "neither"


def test_csv_has_a_header(edgecat: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(edgecat("classify", CHELSEA, COFFEE, "--csv").stdout)))
    assert [row["label"] for row in rows] == ["cat", "neither"]
    assert float(rows[0]["cat"]) == float(rows[0]["score"]) > 0.9


def test_top_and_threshold(edgecat: Run) -> None:
    assert len(json.loads(edgecat("classify", CHELSEA, "--json", "--top", 1).stdout)["scores"]) == 1
    assert json.loads(edgecat("classify", CHELSEA, "--json", "--threshold", 1).stdout)["label"] in (
        "unsure",
        "cat",
    )
    assert "dog" not in edgecat("classify", CHELSEA, "--top", 1).stdout


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name, photo in (
        ("album/a.jpg", CHELSEA),
        ("album/b.jpg", COFFEE),
        ("album/inner/c.jpg", CHELSEA),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    return tmp_path / "album"


def photos(stdout: str) -> list[str]:
    return [json.loads(line)["photo"] for line in stdout.splitlines()]


def test_a_folder_and_what_is_in_it(edgecat: Run, album: Path) -> None:
    assert photos(edgecat("classify", "album", "--json").stdout) == ["album/a.jpg", "album/b.jpg"]
    assert photos(edgecat("classify", "album", "--json", "--recursive").stdout) == [
        "album/a.jpg",
        "album/b.jpg",
        "album/inner/c.jpg",
    ]


def test_a_pattern(edgecat: Run, album: Path) -> None:
    assert photos(edgecat("classify", "album/*.jpg", "--json").stdout) == [
        "album/a.jpg",
        "album/b.jpg",
    ]
    assert len(photos(edgecat("classify", "album/**/*.jpg", "--json").stdout)) == 3


def test_standard_input(edgecat: Run) -> None:
    done = edgecat("classify", "-", "--json", stdin=CHELSEA.read_bytes())
    assert json.loads(done.stdout)["label"] == "cat"
    done = edgecat("classify", "-")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: standard input: empty, expected a photo, or names of photos, one a line\n"
    )


def test_a_broken_photo_is_named_and_the_others_are_classified(edgecat: Run, album: Path) -> None:
    (album / "aa.jpg").write_text("no photo")
    done = edgecat("classify", "album", "none.jpg", "--json")
    assert done.returncode == 1
    assert photos(done.stdout) == ["album/a.jpg", "album/b.jpg"]
    assert done.stderr.splitlines() == [
        "edgecat: album/aa.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)",
        "edgecat: none.jpg: no such file",
    ]


def test_folders_and_patterns_without_photos(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = edgecat("classify", "empty", "*.gif")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "edgecat: empty: no photos in this folder; look into its subfolders too with --recursive",
        "edgecat: *.gif: no file matches",
    ]


def test_models_that_are_none(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "cut.tflite").write_bytes(DEFAULT_MODEL.read_bytes()[:5000])
    (tmp_path / "text.tflite").write_text("hello")
    for name, message in {
        "none.tflite": "no such model file",
        "text.tflite": "not a model file; expected .tflite or .onnx",
    }.items():
        done = edgecat("classify", CHELSEA, "--model", name)
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            f"edgecat: {name}: {message}\n",
        )
    done = edgecat("classify", CHELSEA, "--model", "cut.tflite")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "cannot open this model (The model is not a valid Flatbuffer buffer); "
        "copy or export it again\n"
    )


def test_wrong_usage_exits_with_2(edgecat: Run) -> None:
    assert edgecat("classify").returncode == 2
    assert edgecat("classify", CHELSEA, "--json", "--csv").returncode == 2
    assert edgecat("classify", CHELSEA, "--threshold", 7).returncode == 2
    assert edgecat("clasify", CHELSEA).returncode == 2


def test_help_and_version(edgecat: Run) -> None:
    assert "classify" in edgecat("--help").stdout
    assert edgecat("--version").stdout.startswith("edgecat ")
    assert "standard input" in edgecat("classify", "--help").stdout
