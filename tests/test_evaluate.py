"""`edgecat evaluate`: what was right, class by class, and what was not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from real import CHELSEA, COFFEE, Run


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two cats, a cup, and a cup among the cats."""
    for name, photo in (("cats/a.jpg", CHELSEA), ("cats/b.jpg", CHELSEA), ("cats/cup.jpg", COFFEE), ("neither/c.jpg", COFFEE)):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "album" / name)
    return tmp_path / "album"


def test_accuracy_of_each_class_and_the_mistakes(edgecat: Run, album: Path) -> None:
    record = json.loads(edgecat("evaluate", "album", "--json").stdout)
    assert (record["photos"], record["accuracy"]) == (4, 0.75)
    assert record["classes"]["cat"] == {"photos": 3, "accuracy": 0.66667, "answers": {"cat": 2, "neither": 1}}
    assert record["classes"]["neither"]["accuracy"] == 1
    [mistake] = record["mistakes"]
    assert (mistake["photo"], mistake["label"], mistake["answer"]) == ("album/cats/cup.jpg", "cat", "neither")
    table = edgecat("evaluate", "album").stdout
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [["cat", "3", "66.67%"], ["neither", "1", "100.00%"], ["all", "4", "75.00%"]]


def test_one_class_may_be_given_by_name(edgecat: Run, album: Path) -> None:
    record = json.loads(edgecat("evaluate", f"neither={album / 'neither'}", "--json").stdout)
    assert (record["photos"], record["accuracy"]) == (1, 1)


def test_a_broken_photo_is_named_and_the_rest_is_counted(edgecat: Run, album: Path) -> None:
    (album / "cats" / "aa.jpg").write_text("no photo")
    done = edgecat("evaluate", "album", "--json")
    assert done.returncode == 1
    assert done.stderr == "edgecat: album/cats/aa.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)\n"
    record = json.loads(done.stdout)
    assert record["photos"] == 4
    assert [mistake["photo"] for mistake in record["mistakes"]] == ["album/cats/cup.jpg"]


def test_a_folder_of_an_unknown_class(edgecat: Run, album: Path) -> None:
    (album / "neither").rename(album / "horses")
    done = edgecat("evaluate", "album")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "edgecat: class folder 'horses' is no label of catdog-int8.tflite; expected cat, dog, neither\n"
