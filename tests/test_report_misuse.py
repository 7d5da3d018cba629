"""`edgecat report`: what it refuses, and photos and classes of other kinds."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_models import without_zip
from real import CHELSEA, Run
from reported import CLOUD, EXPECTED, put

from edgecat.errors import DataError
from edgecat.report.records import read_records

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs edgecat[plots]"
)


def test_a_broken_photo_is_named_and_the_rest_is_reported(edgecat: Run, tmp_path: Path) -> None:
    put(CHELSEA, tmp_path / "album/cats/a.jpg")
    (tmp_path / "album/cats/b.jpg").write_text("no photo")
    done = edgecat("report", "album")
    assert (done.returncode, done.stdout) == (1, "report.html\n")
    assert (
        done.stderr
        == "edgecat: album/cats/b.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)\n"
    )
    assert json.loads((tmp_path / "report.json").read_text())["systems"][0]["photos"] == 1
    (tmp_path / "album/cats/a.jpg").unlink()
    (tmp_path / "report.html").unlink()
    done = edgecat("report", "album")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: album/cats/b.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or "
        "TIFF); nor can any other photo be read\n"
    )
    assert not (tmp_path / "report.html").exists()


def test_other_classes_than_cats_and_dogs(edgecat: Run, tmp_path: Path) -> None:
    put(CHELSEA, tmp_path / "album/horse/a.jpg", tmp_path / "album/sheep/a.jpg")
    (tmp_path / "theirs.tflite").write_bytes(without_zip())
    assert (
        edgecat("label", "theirs.tflite", "--labels", "horse,dog,sheep", "--in-place").returncode
        == 0
    )
    done = edgecat("report", "album", "--model", "theirs.tflite")
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    assert (
        done.stderr
        == "left out: class folder 'horse' is no label of catdog-int8.tflite; expected cat, "
        "dog, neither\n"
    )
    record = json.loads((tmp_path / "report.json").read_text())
    assert [system["model"] for system in record["systems"]] == ["theirs.tflite"]
    assert record["claims"] == []
    assert "student" not in (tmp_path / "report.html").read_text()


def broken(**changes: object) -> str:
    return json.dumps({**CLOUD, **changes})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes)"),
        ("[1]", "no JSON object"),
        ("{}", "no JSON object"),
        (
            json.dumps({key: value for key, value in CLOUD.items() if key != "accuracy"}),
            "no 'accuracy'",
        ),
        (broken(accuracy=98.3), "'accuracy' is not a number from 0 to 1"),
        (broken(accuracy=float("nan")), "'accuracy' is not a number from 0 to 1"),
        (broken(photos=True), "'photos' is not a whole number"),
        (broken(file_bytes="2 MB"), "'file_bytes' is not a whole number"),
        (broken(model=7), "'model' is not text"),
        (broken(data="pets"), "'data' is no list"),
        (broken(accuracy_interval=[0.9]), "'accuracy_interval' is no list of 2"),
        (broken(classes={}), "'classes' is no object"),
        (
            broken(classes={"cat": {**CLOUD["classes"]["cat"], "confidence_histogram": [1]}}),
            "'confidence_histogram' is no list of 20",
        ),
        (broken(worst=[{"photo": "a.jpg"}]), "no 'label'"),
    ],
)
def test_a_line_that_is_no_record(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "cloud.jsonl").write_text(json.dumps(CLOUD) + "\n" + line + "\n")
    with pytest.raises(DataError) as caught:
        list(read_records(tmp_path / "cloud.jsonl"))
    assert str(caught.value) == f"{tmp_path / 'cloud.jsonl'}, line 2: {reason}; {EXPECTED}"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["nowhere"], "nowhere: no such folder; expected a folder of photos"),
        (
            ["empty"],
            "empty: no class folders; expected one folder of photos for each class, such "
            "as cats/ and dogs/, or LABEL=FOLDER",
        ),
        (
            ["horses"],
            "class folder 'horse' is no label of catdog-int8.tflite; expected cat, dog, neither",
        ),
        (
            ["album", "--model", "empty"],
            "empty: no model files in this folder; expected .tflite or .onnx",
        ),
        (["album", "--evaluation", "no.jsonl"], f"no.jsonl: No such file or directory; {EXPECTED}"),
        (["album", "--evaluation", "album/cats/a.jpg"], f"album/cats/a.jpg: not text; {EXPECTED}"),
        (["album", "--evaluation", "empty.txt"], f"empty.txt: empty; {EXPECTED}"),
        (
            ["album", "--evaluation", "words.txt"],
            f"words.txt, line 1: not JSON (Expecting value); {EXPECTED}",
        ),
        (
            ["album", "--history", "empty"],
            "empty/history.csv: No such file or directory; expected a run folder of "
            "edgecat train, or the history.csv in it",
        ),
        (
            ["album", "--history", "words.txt"],
            "words.txt: no training history; expected a run folder of edgecat train, or "
            "the history.csv in it",
        ),
        (
            ["album", "--history", "album/cats/a.jpg"],
            "album/cats/a.jpg: no training history; expected a run folder of edgecat "
            "train, or the history.csv in it",
        ),
        (
            ["album", "--out", "nowhere/report.html"],
            "nowhere: cannot be written to (No such file or directory); give another --out",
        ),
        (
            ["album", "--out", "words.txt/report.html"],
            "words.txt: cannot be written to (Not a directory); give another --out",
        ),
        (
            ["album", "--out", "folder.html"],
            "folder.html: cannot be written to (Is a directory); give another --out",
        ),
    ],
)
def test_misuse(edgecat: Run, tmp_path: Path, options: list[str], error: str) -> None:
    put(CHELSEA, tmp_path / "album/cats/a.jpg", tmp_path / "horses/horse/a.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "words.txt").write_text("once upon a time\nthere was a cat\n")
    (tmp_path / "empty.txt").write_text("\n")
    before = sorted(tmp_path.rglob("*"))
    done = edgecat("report", *options)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {error}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_must_be_named_html(edgecat: Run) -> None:
    done = edgecat("report", "album", "--out", "report.md")
    assert done.returncode == 2
    assert "'report.md', expected a name that ends in .html" in done.stderr


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_what_to_install(tmp_path: Path, library: str) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv = ['edgecat', 'report', "
        "'nowhere']; import edgecat.cli; edgecat.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"edgecat: a report needs '{library}'; install it with: pip install 'edgecat[plots]'\n"
    )
