"""`edgecat evaluate`: what was right, class by class, and what was not."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from foreign_models import colour_tflite
from PIL import ExifTags, Image
from real import CHELSEA, COFFEE, Run

from edgecat import Classification, Classifier, InputRecipe, ModelCard, PhotoError, Score
from edgecat.classifier import Scores
from edgecat.formats import write_card
from edgecat.measure.accuracy import (
    WORST,
    LabelledPhoto,
    evaluate,
    find_labelled_photos,
    wilson_interval,
)
from edgecat.models import DEFAULT_MODEL
from edgecat.photo import Photo

GROUPS = {"tabby": "cat", "tiger cat": "cat", "sofa": "neither", "beagle": "dog"}
UNEQUAL = [
    [0, 0, 0],
    [0, 0, 0],
    [np.log(4 / 3), 0, 0],
    [9, -7, -6],
]  # of white: 0.3 tabby, 0.3 tiger cat, 0.4 sofa; of red: beagle


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two cats, a cup, and a cup among the cats."""
    for name, photo in (
        ("cats/a.jpg", CHELSEA),
        ("cats/b.jpg", CHELSEA),
        ("cats/cup.jpg", COFFEE),
        ("neither/c.jpg", COFFEE),
    ):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "album" / name)
    return tmp_path / "album"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """White cats and red dogs."""
    for name, colour in (
        ("cats/a", "white"),
        ("cats/b", "white"),
        ("cats/c", "red"),
        ("dogs/d", "red"),
    ):
        (tmp_path / "colours" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), colour).save(tmp_path / "colours" / f"{name}.png")
    return tmp_path / "colours"


def colour_model(
    path: Path, weights: object, labels: tuple[str, ...], groups: dict[str, str] | None = None
) -> Path:
    colour_tflite(path, weights)
    card = ModelCard(
        path.stem, "colours", labels, InputRecipe(16, 16, mean=0, std=255), groups=groups or {}
    )
    path.write_bytes(write_card(path.read_bytes(), card))
    return path


class Scripted:
    """A system whose answers are made up: of photo `i`, `cat` with the i-th score."""

    name, engine = "scripted", "none"
    card = ModelCard("scripted", "none", ("cat", "dog"), InputRecipe(16, 16))

    def __init__(self, scores: Iterable[float]) -> None:
        self.scores = scores

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        for _, score in zip(photos, self.scores, strict=True):
            scores = Scores((Score("cat", score), Score("dog", 1 - score)))
            yield Classification("cat", score, "cat", scores, self.engine)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_accuracy_of_each_class_and_the_mistakes(edgecat: Run, album: Path) -> None:
    record = json.loads(edgecat("evaluate", "album", "--json").stdout)
    assert (record["photos"], record["accuracy"], record["mistakes"], record["failures"]) == (
        4,
        0.75,
        1,
        [],
    )
    assert (record["model"], record["file_bytes"]) == (
        "catdog-int8.tflite",
        DEFAULT_MODEL.stat().st_size,
    )
    assert (record["data"], record["command"]) == (["album"], "edgecat evaluate album --json")
    assert (record["balanced_accuracy"], record["neither_share"]) == (0.83333, 0.5)
    assert "ways" not in record
    cat = record["classes"]["cat"]
    assert (cat["photos"], cat["accuracy"], cat["answers"]) == (
        3,
        0.66667,
        {"cat": 2, "neither": 1},
    )
    assert record["classes"]["neither"]["accuracy"] == 1
    [mistake] = record["worst"]
    assert (mistake["photo"], mistake["label"], mistake["answer"]) == (
        "album/cats/cup.jpg",
        "cat",
        "neither",
    )
    model, header, *lines = edgecat("evaluate", "album").stdout.splitlines()
    assert model == f"catdog-int8.tflite, {record['engine']}, 4.44 MB"
    assert header.split() == [
        "photos",
        "right",
        "95",
        "%",
        "interval",
        "confidence",
        "as",
        "cat",
        "as",
        "neither",
    ]
    assert [line.split()[:3] for line in lines[:3]] == [
        ["cat", "3", "66.67%"],
        ["neither", "1", "100.00%"],
        ["all", "4", "75.00%"],
    ]
    assert lines[3:] == [
        f"balanced 83.33%, calibration error {record['calibration_error']:.2%}, "
        "answered neither 50.00%",
        "1 answered wrongly:",
        f"  {mistake['score']:.1%}  cat as neither  album/cats/cup.jpg",
    ]


def test_the_statistics_are_those_of_the_single_answers(edgecat: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for source, folder in ((CHELSEA, "cats"), (COFFEE, "neither"), (COFFEE, "dogs")):
        (tmp_path / "crops" / folder).mkdir(parents=True)
        with Image.open(source) as image:
            for i in range(8):
                left, top = (int(random.integers(0, side // 2)) for side in image.size)
                image.crop((left, top, left + image.width // 3, top + image.height // 3)).save(
                    tmp_path / "crops" / folder / f"{i}.png"
                )
    record = json.loads(edgecat("evaluate", "crops", "--json").stdout)
    photos = list(find_labelled_photos([str(tmp_path / "crops")]))
    with Classifier(threads=1) as classifier:
        answers = list(classifier.classify_many(photo.path for photo in photos))
    labels, said = (
        np.array([photo.label for photo in photos]),
        np.array([answer.label for answer in answers]),
    )
    scores = np.array([answer.score for answer in answers])
    right = labels == said
    assert 0 < right.mean() < 1
    assert record["accuracy"] == pytest.approx(right.mean(), abs=1e-5)
    assert record["balanced_accuracy"] == pytest.approx(
        np.mean([right[labels == label].mean() for label in set(labels)]), abs=1e-5
    )
    assert record["neither_share"] == pytest.approx((said == "neither").mean(), abs=1e-5)
    bins = np.digitize(scores, np.linspace(0, 1, 16)[1:-1])
    errors = [
        (bins == i).mean() * abs(right[bins == i].mean() - scores[bins == i].mean())
        for i in set(bins)
    ]
    assert record["calibration_error"] == pytest.approx(sum(errors), abs=1e-5)
    for label, found in record["classes"].items():
        of_class = scores[labels == label]
        assert found["mean_confidence"] == pytest.approx(of_class.mean(), abs=1e-5)
        assert (
            found["confidence_histogram"]
            == np.histogram(of_class, np.linspace(0, 1, 21))[0].tolist()
        )
    assert record["worst"] == sorted(record["worst"], key=lambda mistake: -mistake["score"])
    assert record["mistakes"] == len(record["worst"]) == (~right).sum()


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],  # Newcombe 1998, table I, method 3
)
def test_intervals_are_those_that_were_published(
    right: int, of: int, low: float, high: float
) -> None:
    assert wilson_interval(right, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(of - right, of) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_groups_are_judged_by_their_sums_and_by_the_best_label(
    edgecat: Run, colours: Path, tmp_path: Path
) -> None:
    colour_model(tmp_path / "grouped.tflite", UNEQUAL, tuple(GROUPS), GROUPS)
    record = json.loads(
        edgecat("evaluate", "colours", "--model", "grouped.tflite", "--json").stdout
    )
    assert (record["accuracy"], record["neither_share"]) == (0.75, 0)
    assert record["ways"]["sums"] == {
        label: of["accuracy"] for label, of in record["classes"].items()
    }
    assert record["classes"]["cat"]["answers"] == {"cat": 2, "dog": 1}
    assert record["classes"]["cat"]["confidence_histogram"][11:13] == [
        2,
        0,
    ]  # 0.6 of both, less what the beagle has
    assert record["worst"][0] == {
        "photo": "colours/cats/c.png",
        "label": "cat",
        "answer": "dog",
        "score": 0.9996,
    }
    assert record["ways"]["best label"] == {"cat": 0, "dog": 1}
    lines = edgecat("evaluate", "colours", "--model", "grouped.tflite").stdout.splitlines()
    table = [re.split(r"  +", line) for line in lines if re.match("group by|sums|best label", line)]
    assert table[1:] == [
        ["sums", "66.67%", "100.00%"],
        ["sums among cat, dog", "66.67%", "100.00%"],
        ["best label", "0.00%", "100.00%"],
    ]
    mostly_sofa = [
        [*UNEQUAL[0]],
        [*UNEQUAL[1]],
        [np.log(4), 0, 0],
        [*UNEQUAL[3]],
    ]  # of white: the sofa has 0.67, two cats 0.17 each
    colour_model(tmp_path / "sofa.tflite", mostly_sofa, tuple(GROUPS), GROUPS)
    ways = json.loads(edgecat("evaluate", "colours", "--model", "sofa.tflite", "--json").stdout)[
        "ways"
    ]
    assert [of["cat"] for of in ways.values()] == [0, pytest.approx(2 / 3, abs=1e-5), 0]
    (tmp_path / "colours" / "cats").rename(tmp_path / "colours" / "tabby")
    (tmp_path / "colours" / "dogs").rename(tmp_path / "colours" / "beagle")
    by_label = json.loads(
        edgecat("evaluate", "colours", "--model", "grouped.tflite", "--json").stdout
    )
    assert by_label["classes"]["tabby"]["answers"] == {"beagle": 1, "sofa": 2}
    assert "ways" not in by_label


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Three folders: a model that takes white for a cat and red for a dog is right on 4 of 6."""
    photos = {
        "home/set/cats/a": "white",
        "home/set/cats/b": "red",
        "home/set/dogs/c": "red",
        "away/set/cats/d": "white",
        "away/set/cats/e": "white",
        "wild/dogs/f": "white",
    }
    for name, colour in photos.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{name}.png")
    return ["home/set", "away/set", "dog=wild/dogs"]


def test_several_folders_are_a_row_each(edgecat: Run, folders: list[str], tmp_path: Path) -> None:
    colour_model(tmp_path / "two.tflite", [[0, 9, 0], [5, 0, 0]], ("cat", "dog"))
    _, header, *lines = edgecat("evaluate", *folders, "--model", "two.tflite").stdout.splitlines()
    columns = ["photos", "right", "95 % interval", "confidence", "as cat", "as dog"]
    assert re.split(r"  +", header.strip()) == columns
    rows = [re.split(r"  +", line) for line in lines[:6]]
    assert [[*row[:4], *row[6:]] for row in rows[:4]] == [
        ["home/set", "cat", "2", "50.00%", "1", "1"],
        ["home/set", "dog", "1", "100.00%", "0", "1"],
        ["away/set", "cat", "2", "100.00%", "2", "0"],
        ["wild/dogs", "dog", "1", "0.00%", "1", "0"],
    ]
    mean = (0.75 + 1 + 0) / 3  # of the folders' balanced accuracies
    assert rows[4] == ["mean over 3 folders", f"{mean:.2%}"]
    assert rows[5][:3] == ["all", "6", "66.67%"]
    interval = "{:.1f} to {:.1f} %".format(*(100 * limit for limit in wilson_interval(1, 2)))
    assert rows[0][4] == interval
    assert lines[6].startswith("balanced 62.50%, calibration error ")  # cats 3 of 4, dogs 1 of 2
    assert "mean over" not in lines[6]


def test_the_record_of_several_folders(edgecat: Run, folders: list[str], tmp_path: Path) -> None:
    colour_model(tmp_path / "two.tflite", [[0, 9, 0], [5, 0, 0]], ("cat", "dog"))
    model = ("--model", "two.tflite", "--json")
    record = json.loads(edgecat("evaluate", *folders, *model).stdout)
    assert record["mean_over_folders"] == pytest.approx((0.75 + 1 + 0) / 3, abs=1e-5)
    assert list(record["origins"]) == ["home/set", "away/set", "wild/dogs"]
    origins = record["origins"]
    assert [list(labels) for labels in origins.values()] == [["cat", "dog"], ["cat"], ["dog"]]
    accuracies = [of["accuracy"] for labels in origins.values() for of in labels.values()]
    assert accuracies == [0.5, 1, 1, 0]
    for label, found in record["classes"].items():
        parts = [labels[label] for labels in record["origins"].values() if label in labels]
        assert found["photos"] == sum(part["photos"] for part in parts)
        histograms = [part["confidence_histogram"] for part in parts]
        assert found["confidence_histogram"] == np.sum(histograms, axis=0).tolist()
    alone = json.loads(edgecat("evaluate", "home/set", *model).stdout)
    assert alone["classes"] == record["origins"]["home/set"]
    assert not {"origins", "mean_over_folders"} & set(alone)
    lines = edgecat("evaluate", "home/set", "--model", "two.tflite").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["cat", "dog", "all"]
    assert "mean over" not in "".join(lines)


def test_models_are_compared_by_their_mean_over_folders(
    edgecat: Run,
    folders: list[str],
    tmp_path: Path,
) -> None:
    colour_model(tmp_path / "two.tflite", [[0, 9, 0], [5, 0, 0]], ("cat", "dog"))
    colour_model(tmp_path / "cats.tflite", [[9, 0, 0], [0, 0, 0]], ("cat", "dog"))
    models = ("--model", "two.tflite", "--model", "cats.tflite")
    blocks = edgecat("evaluate", *folders, *models).stdout.split("\n\n")
    header, *rows = [re.split(r"  +", line) for line in blocks[2].splitlines()]
    assert header[4:8] == ["cat", "dog", "mean over folders", "balanced"]
    means = ((0.75 + 1 + 0) / 3, (0.5 + 1 + 0) / 3)
    assert [row[6] for row in rows] == [f"{mean:.2%}" for mean in means]


def test_several_models_in_one_table(edgecat: Run, colours: Path, tmp_path: Path) -> None:
    colour_model(tmp_path / "grouped.tflite", UNEQUAL, tuple(GROUPS), GROUPS)
    colour_model(tmp_path / "two.tflite", [[0, 9, 0], [5, 0, 0]], ("cat", "dog"))
    models = ("--model", "grouped.tflite", "--model", tmp_path / "two.tflite")
    done = edgecat("evaluate", "colours", *models, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    grouped, two = map(json.loads, done.stdout.splitlines())
    assert (grouped["model"], two["model"]) == ("grouped.tflite", "two.tflite")
    assert (
        two["command"]
        == "edgecat evaluate colours --model grouped.tflite --model two.tflite --json"
    )
    assert "neither_share" not in two
    table = edgecat("evaluate", "colours", *models).stdout.split("\n\n")
    assert [block.splitlines()[0].split(",")[0] for block in table[:2]] == [
        "grouped.tflite",
        "two.tflite",
    ]
    header, *rows = [re.split(r"  +", line) for line in table[2].splitlines()]
    assert header[:6] == ["model", "photos", "right", "95 % interval", "cat", "dog"]
    assert header[6:] == ["balanced", "calibration error", "answered neither", "size", "seconds"]
    interval = "{:.1f} to {:.1f} %".format(*(100 * limit for limit in wilson_interval(3, 4)))
    assert rows[0][:7] == ["grouped.tflite", "4", "75.00%", interval, "66.67%", "100.00%", "83.33%"]
    assert [row[8] for row in rows] == ["0.00%", "-"]


def test_models_of_one_name_are_told_apart(edgecat: Run, colours: Path, tmp_path: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        colour_model(tmp_path / folder / "two.tflite", [[0, 9, 0], [5, 0, 0]], ("cat", "dog"))
    records = edgecat(
        "evaluate", "colours", "--model", "old/two.tflite", "--model", "new/two.tflite", "--json"
    ).stdout.splitlines()
    assert [json.loads(record)["model"] for record in records] == [
        "old/two.tflite",
        "new/two.tflite",
    ]


def test_a_model_that_cannot_be_judged_is_named_and_the_others_are_judged(
    edgecat: Run, album: Path, tmp_path: Path
) -> None:
    colour_model(tmp_path / "two.tflite", [[0, 9, 0], [5, 0, 0]], ("cat", "dog"))
    done = edgecat(
        "evaluate",
        "album",
        "--model",
        DEFAULT_MODEL,
        "--model",
        "two.tflite",
        "--model",
        "none.tflite",
        "--model",
        DEFAULT_MODEL,
        "--json",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "edgecat: class folder 'neither' is no label of two.tflite; expected cat, dog",
        "edgecat: none.tflite: no such model file",
    ]
    assert [json.loads(line)["accuracy"] for line in done.stdout.splitlines()] == [0.75, 0.75]


def test_an_engine_is_asked_of_all_models(edgecat: Run, album: Path) -> None:
    done = edgecat("evaluate", "album", "--engine", "onnxruntime")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgecat: engine 'onnxruntime' does not run .tflite files; "
        "expected litert or tflite-runtime or tensorflow\n"
    )


def test_one_class_may_be_given_by_name(edgecat: Run, album: Path) -> None:
    record = json.loads(edgecat("evaluate", f"neither={album / 'neither'}", "--json").stdout)
    assert (record["photos"], record["accuracy"]) == (1, 1)
    assert (record["data"], record["command"]) == (
        ["neither=neither"],
        "edgecat evaluate neither=neither --json",
    )


def test_a_broken_photo_is_named_once_and_the_rest_is_counted(edgecat: Run, album: Path) -> None:
    (album / "cats" / "aa.jpg").write_text("no photo")
    done = edgecat(
        "evaluate", "album", "--json", "--model", DEFAULT_MODEL, "--model", DEFAULT_MODEL
    )
    assert done.returncode == 1
    failure = "album/cats/aa.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)"
    assert done.stderr == f"edgecat: {failure}\n"
    for record in map(json.loads, done.stdout.splitlines()):
        assert (record["photos"], record["failures"]) == (4, [failure])
        assert [mistake["photo"] for mistake in record["worst"]] == ["album/cats/cup.jpg"]


def test_nothing_but_broken_photos(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "album" / "cats").mkdir(parents=True)
    (tmp_path / "album" / "cats" / "a.jpg").write_text("no photo")
    done = edgecat("evaluate", "album", "--json", "--gallery", "wrong.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: album/cats/a.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)\n"
    )
    assert not (tmp_path / "wrong.html").exists()


def test_progress_counts_every_photo(album: Path) -> None:
    (album / "cats" / "aa.jpg").write_text("no photo")
    steps: list[int] = []
    with Classifier(threads=1) as classifier:
        result = evaluate(classifier, list(find_labelled_photos([str(album)])), steps.append)
    assert (steps, result.photos(), len(result.failures)) == ([1, 2, 3, 4, 5], 4, 1)


def test_a_folder_of_an_unknown_class(edgecat: Run, album: Path) -> None:
    (album / "neither").rename(album / "horses")
    done = edgecat("evaluate", "album")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgecat: class folder 'horses' is no label of catdog-int8.tflite; "
        "expected cat, dog, neither\n"
    )


def test_of_many_mistakes_the_surest_are_kept() -> None:
    scores = np.random.default_rng(0).integers(0, 400, 3000) / 400
    photos = [
        LabelledPhoto(Path(f"{i}.jpg"), "dog" if i % 2 else "cat") for i in range(len(scores))
    ]
    result = evaluate(Scripted(scores.tolist()), photos)
    wrong = sorted(
        range(1, len(scores), 2), key=lambda i: -scores[i]
    )  # of equal scores the earlier photo first
    assert [mistake.photo for mistake in result.worst()] == [f"{i}.jpg" for i in wrong[:WORST]]
    assert result.mistakes == 1500


def test_memory_does_not_grow_with_the_photos() -> None:
    def peak(count: int) -> int:
        photos = [LabelledPhoto(Path("a.jpg"), "dog")] * count
        tracemalloc.start()
        evaluate(Scripted(i / count for i in range(count)), photos)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(200)
    assert peak(20_000) < 1.2 * peak(2_000)


# --gallery


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_gallery_shows_the_mistakes_upright_and_needs_nothing_beside_it(
    edgecat: Run, album: Path, tmp_path: Path
) -> None:
    (album / "cats" / "cup.jpg").unlink()
    name = "<b>cup & 'saucer'</b>.jpg".replace("/", "\N{DIVISION SLASH}")
    with Image.open(COFFEE) as image:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(album / "cats" / name, exif=exif)
        width, height = image.size
    done = edgecat("evaluate", "album", "--gallery", "wrong.html", "--json")
    assert (done.returncode, done.stderr) == (0, "written: wrong.html\n")
    [mistake] = json.loads(done.stdout)["worst"]
    page = Page(tmp_path / "wrong.html")
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.tags.count("b") == 1  # of the answer, not of the file's name
    assert f"album/cats/{name}" in "".join(page.text)
    assert f"cat, answered neither {mistake['score']:.1%}" in "".join(page.text)
    assert {"catdog-int8.tflite", "1 of 4 photos"} < set(page.text)
    [address] = page.addresses
    kind, _, content = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as thumbnail:
        assert max(thumbnail.size) == 240
        assert thumbnail.width / thumbnail.height == pytest.approx(width / height, rel=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["album", "wrong.html"]


def test_a_gallery_replaces_its_own_pages_alone(edgecat: Run, album: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert edgecat("evaluate", "album", "--gallery", "wrong.html").returncode == 0
    (tmp_path / "wrong.html").write_text("<!DOCTYPE html>my own")
    done = edgecat("evaluate", "album", "--gallery", "wrong.html")
    message = (
        "wrong.html: exists and was not made by 'edgecat evaluate --gallery'; "
        "give --force to overwrite it, or another file"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    assert (tmp_path / "wrong.html").read_text() == "<!DOCTYPE html>my own"
    assert edgecat("evaluate", "album", "--gallery", "wrong.html", "--force").returncode == 0
    assert "cup.jpg" in (tmp_path / "wrong.html").read_text()


def test_a_gallery_that_cannot_be_written_is_refused_before_the_work(
    edgecat: Run, album: Path
) -> None:
    done = edgecat("evaluate", "album", "--gallery", "pages/wrong.html")
    message = (
        "pages/wrong.html: cannot be written, 'pages' is no folder that can be written to; "
        "give another file"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    done = edgecat("evaluate", "album", "--gallery", "album", "--force")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "edgecat: album: a folder, expected the name of a page\n",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_file_name_that_is_no_unicode(edgecat: Run, album: Path, tmp_path: Path) -> None:
    os.rename(album / "cats" / "cup.jpg", os.fsencode(album / "cats") + b"/\xff.jpg")
    done = edgecat("evaluate", "album", "--gallery", "wrong.html", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["worst"][0]["photo"] == "album/cats/\udcff.jpg"
    assert r"album/cats/\udcff.jpg" in "".join(Page(tmp_path / "wrong.html").text)
    assert r"album/cats/\udcff.jpg" in edgecat("evaluate", "album").stdout
