"""Models that edgecat did not make: what is known of them, what the user is asked, labelling."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from foreign_models import colour_onnx, colour_tflite, stripped, without_zip, zipped
from PIL import Image
from real import CHELSEA, COFFEE, Run

from edgecat import Classification, Classifier, Description, EdgecatError, ModelError, read_card
from edgecat.card import ModelCard
from edgecat.foreign.description import described_inside
from edgecat.foreign.label_file import parse_labels, read_labels
from edgecat.formats.tflite import associated_files
from edgecat.models import DEFAULT_MODEL

COLOURS = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4]])  # how red, green and blue a photo is
MIXED = np.array([[1.0, -2, 0.5], [-1, 0.5, 1], [0.3, 0.2, -1]])
ULTRALYTICS = {
    "task": "classify",
    "names": "{0: 'red', 1: 'green', 2: 'blue'}",
    "imgsz": "[32, 32]",
    "channels": "3",
    "stride": "1",
}
SUFFICIENT = Description(labels="red,green,blue", mean=0, std=255, resize="squash", logits=True)
ASKS = "has no model card, and does not say all that is needed; give "
ASKS_LABELS = "--labels FILE or cat,dog,… in the order of its outputs"
LOST = " (its metadata name 'labels.txt', which is not in the file: is it cut short?)"
ASKS_MEAN = "--mean and --std (it reads (pixel - mean) / std, pixel in 0..255)"


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def classified(
    model: Path, photo: object, description: Description | None = None
) -> Classification:
    with Classifier(model, description=description) as classifier:
        return classifier.classify(photo)  # type: ignore[arg-type]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A photo without a scaled decoding that a bare computation would have to follow."""
    with Image.open(CHELSEA) as image:
        image.save(tmp_path / "chelsea.png")
    return tmp_path / "chelsea.png"


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


# TFLite


def test_standard_metadata_give_the_scores_that_the_card_gives(tmp_path: Path) -> None:
    model = write(tmp_path / "theirs.tflite", stripped())
    for photo in (CHELSEA, COFFEE):
        pixels = np.asarray(
            Image.open(photo)
        )  # whole: what the card says of decoding, the standard does not know
        assert classified(model, pixels) == classified(DEFAULT_MODEL, pixels)


@pytest.mark.parametrize(
    "name", ["theirs.txt", "theirs_labels.txt", "labels.txt", "pets_labels.txt"]
)
@pytest.mark.parametrize(
    "lines",
    [
        "cat\ndog\nneither\n",
        "0 cat\r\n1 dog\r\n2 neither",
        '{"id2label": {"0": "cat", "1": "dog", "2": "neither"}}',
    ],
)
def test_a_label_file_beside_gives_the_scores_that_the_card_gives(
    tmp_path: Path, name: str, lines: str
) -> None:
    model = write(tmp_path / "theirs.tflite", without_zip())
    write(tmp_path / name, lines)
    assert classified(model, CHELSEA) == classified(DEFAULT_MODEL, CHELSEA)


def test_classify_and_evaluate_take_them_on_the_command_line(edgecat: Run, tmp_path: Path) -> None:
    write(tmp_path / "theirs.tflite", stripped())
    expected = json.loads(edgecat("classify", CHELSEA, "--json").stdout)
    assert (
        json.loads(edgecat("classify", CHELSEA, "--json", "--model", "theirs.tflite").stdout)
        == expected
    )
    write(tmp_path / "bare.tflite", without_zip())
    done = edgecat(
        "classify",
        CHELSEA,
        "--json",
        "--model",
        "bare.tflite",
        "--labels",
        "cat,dog,neither",
        "--resize",
        "squash",
    )
    assert json.loads(done.stdout) == expected
    shutil.copytree(
        CHELSEA.parent, tmp_path / "photos" / "cats", ignore=shutil.ignore_patterns("*.md")
    )
    done = edgecat(
        "evaluate", "photos", "--json", "--model", "bare.tflite", "--labels", "cat,dog,neither"
    )
    assert json.loads(done.stdout)["classes"]["cat"]["answers"] == {"cat": 1, "neither": 1}


def test_of_several_label_files_none_is_guessed(tmp_path: Path) -> None:
    model = write(tmp_path / "theirs.tflite", without_zip())
    write(tmp_path / "pets_labels.txt", "cat\ndog\nneither")
    write(tmp_path / "bird_labels.txt", "crow\njay\nowl")
    with pytest.raises(ModelError) as caught:
        Classifier(model)
    assert str(caught.value) == f"{model}: {ASKS}{ASKS_LABELS}{LOST}"
    assert (
        classified(model, CHELSEA, Description(labels=tmp_path / "pets_labels.txt")).label == "cat"
    )


def test_what_a_float_model_does_not_say_is_asked_for_at_once(
    edgecat: Run, tmp_path: Path, png: Path
) -> None:
    colour_tflite(tmp_path / "float.tflite", MIXED, softmax=False)
    done = edgecat("classify", CHELSEA, "--model", "float.tflite")
    asked = (
        f"{ASKS}{ASKS_LABELS}; {ASKS_MEAN}; --logits or --probabilities, whichever its outputs are"
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"edgecat: float.tflite: {asked}\n",
    )
    options = ("--labels", "a,b,c", "--mean", 127.5, "--std", "127.5", "--logits")
    scores = json.loads(
        edgecat("classify", png, "--model", "float.tflite", *options, "--json").stdout
    )["scores"]
    colour = np.asarray(
        Image.open(png).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR, reducing_gap=3.0)
    ).mean(axis=(0, 1))
    assert [scores[label] for label in "abc"] == pytest.approx(
        softmax(MIXED @ (colour / 127.5 - 1)), abs=1e-5
    )


def test_the_normalisation_of_usual_integer_inputs_follows_from_the_tensor(tmp_path: Path) -> None:
    for dtype, scale, zero_point, mean, std in (
        (np.uint8, 1 / 128, 128, 128, 128),
        (np.uint8, 2 / 255, 127, 127, 127.5),
        (np.int8, 2 / 255, -1, 127, 127.5),
        (np.int8, 1 / 255, -128, 0, 255),
        (np.uint8, 1.0, 0, 0, 1),
    ):
        model = colour_tflite(
            tmp_path / "m.tflite", COLOURS, dtype=dtype, scale=scale, zero_point=zero_point
        )
        with Classifier(model, description=Description(labels="red,green,blue")) as classifier:
            assert (classifier.card.input.mean, classifier.card.input.std) == (mean, std)
            pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            least = np.iinfo(dtype).min
            assert np.array_equal(
                classifier.tensor(pixels).astype(int), pixels.astype(int) + least
            )  # pixel values as they are


def test_an_unusual_integer_input_is_asked_about(tmp_path: Path) -> None:
    model = colour_tflite(
        tmp_path / "m.tflite", COLOURS, dtype=np.uint8, scale=0.0187, zero_point=114
    )  # of ImageNet's mean and std for each channel
    with pytest.raises(ModelError) as caught:
        Classifier(model, description=Description(labels="red,green,blue"))
    assert str(caught.value) == f"{model}: {ASKS}{ASKS_MEAN}"
    said = Description(
        labels="red,green,blue", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )
    assert classified(model, np.full((16, 16, 3), (0, 0, 200), np.uint8), said).label == "blue"


def test_1001_outputs_and_1000_labels_mean_background_first(tmp_path: Path) -> None:
    weights = np.zeros((1001, 3))
    weights[[0, 1, 1000]] = COLOURS
    model = colour_tflite(
        tmp_path / "quant.tflite", weights, dtype=np.uint8, scale=1 / 128, zero_point=128
    )
    write(tmp_path / "labels.txt", "".join(f"{number}\n" for number in range(1, 1001)))
    for colour, label in (((255, 0, 0), "background"), ((0, 255, 0), "1"), ((0, 0, 255), "1000")):
        result = classified(model, np.full((16, 16, 3), colour, np.uint8))
        assert (result.label, len(result.scores)) == (label, 1001)
    write(tmp_path / "labels.txt", "".join(f"{number} label {number}\n" for number in range(1001)))
    assert classified(model, np.full((16, 16, 3), (255, 0, 0), np.uint8)).label == "label 0"
    write(tmp_path / "labels.txt", "".join(f"{number}\n" for number in range(1, 1000)))
    with pytest.raises(ModelError) as caught:
        Classifier(model)
    assert str(caught.value) == (
        f"{model}: 1001 outputs, but 999 labels (labels.txt); "
        "expected one for each, give them with --labels"
    )


def test_a_tflite_model_that_takes_any_size(tmp_path: Path) -> None:
    model = colour_tflite(tmp_path / "free.tflite", MIXED, free=True)
    description = Description(labels="red,green,blue", mean=0, std=255)
    with pytest.raises(ModelError) as caught:
        Classifier(model, description=description)
    assert str(caught.value).startswith(f"{model}: {ASKS}--size of its photos in pixels")
    with Classifier(
        model, description=Description(labels="red,green,blue", mean=0, std=255, size=(24, 40))
    ) as classifier:
        assert classifier.pixels(CHELSEA).shape == (24, 40, 3)
        for photo in (CHELSEA, COFFEE):
            expected = softmax(MIXED @ classifier.pixels(photo).mean(axis=(0, 1)) / 255)
            assert classifier.run(classifier.tensor(classifier.pixels(photo))) == pytest.approx(
                expected, abs=1e-5
            )


# ONNX


def cropped(photo: Path, size: int, share: float) -> np.ndarray:
    """As torchvision's Resize and CenterCrop do it, one after the other."""
    image = Image.open(photo).convert("RGB")
    shorter = math.floor(size / share)
    scaled = (
        (shorter, int(shorter * image.height / image.width))
        if image.width < image.height
        else (int(shorter * image.width / image.height), shorter)
    )
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)), np.float64)


@pytest.mark.parametrize(
    "shape",
    [[1, 3, 32, 32], ["batch", 3, "height", "width"], ["batch", "num_channels", "height", "width"]],
)
def test_ultralytics_keys_are_all_that_is_needed(
    tmp_path: Path, png: Path, shape: list[int | str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = colour_onnx(tmp_path / "yolo-cls.onnx", MIXED, shape, ULTRALYTICS, softmax=True)
    scores = dict(classified(model, png).scores)
    expected = softmax(MIXED @ (cropped(png, 32, 1).mean(axis=(0, 1)) / 255))
    assert [scores[label] for label in ("red", "green", "blue")] == pytest.approx(
        expected, abs=1e-4
    )


@pytest.mark.parametrize("shape", [[1, 3, 48, 48], [1, 48, 48, 3]])
def test_an_onnx_model_with_a_recipe_given(
    edgecat: Run, tmp_path: Path, png: Path, shape: list[int | str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    colour_onnx(tmp_path / "timm.onnx", MIXED, shape)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    options = [
        "--labels",
        "a,b,c",
        "--mean",
        ",".join(map(str, mean)),
        "--std",
        ",".join(map(str, std)),
        "--resize",
        "crop:0.875",
        "--logits",
    ]
    scores = json.loads(
        edgecat("classify", png, "--model", "timm.onnx", "--json", *options).stdout
    )["scores"]
    expected = softmax(MIXED @ ((cropped(png, 48, 0.875) - mean) / std).mean(axis=(0, 1)))
    assert [scores[label] for label in "abc"] == pytest.approx(expected, abs=1e-3)
    done = edgecat("classify", CHELSEA, "--model", "timm.onnx", *options[:6], "--logits")
    assert done.stderr == f"edgecat: timm.onnx: {ASKS}--resize squash, crop or crop:SHARE\n"


def test_options_override_what_the_file_says(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = colour_onnx(
        tmp_path / "yolo-cls.onnx", MIXED, [1, 3, 32, 32], ULTRALYTICS, softmax=True
    )
    with Classifier(
        model, description=Description(labels=["x", "y", "z"], std=128, resize="squash")
    ) as classifier:
        assert classifier.card.labels == ("x", "y", "z")
        assert (
            classifier.card.input.mean,
            classifier.card.input.std,
            classifier.card.input.resize,
        ) == (0, 128, "squash")


def test_one_output_is_the_second_labels(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = colour_onnx(tmp_path / "sigmoid.onnx", [[0.9, 0, 0]], ["batch", 32, 32, 3])
    red = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    said = {"labels": "cat,dog", "mean": 0.0, "std": 255.0, "resize": "squash"}
    with pytest.raises(
        ModelError, match=r"give --logits or --probabilities, whichever its outputs are$"
    ):
        Classifier(model, description=Description(**said))  # type: ignore[arg-type]
    described = Description(**said, logits=False)  # type: ignore[arg-type]
    scores = dict(classified(model, red, described).scores)
    assert scores == pytest.approx({"dog": 0.9, "cat": 0.1})
    described = Description(**said, logits=True)  # type: ignore[arg-type]
    scores = dict(classified(model, red, described).scores)
    assert scores == pytest.approx(
        {"dog": 1 / (1 + math.exp(-0.9)), "cat": 1 - 1 / (1 + math.exp(-0.9))}
    )


@pytest.mark.parametrize(
    ("shape", "keys", "description", "message"),
    [
        (
            [1, 3, 32, 32],
            {**ULTRALYTICS, "task": "detect"},
            None,
            "a model for the task 'detect', expected 'classify'",
        ),
        (
            [1, 3, 32, 32],
            {**ULTRALYTICS, "names": "{0: 'red'"},
            None,
            "names: '{0: 'red'' cannot be read",
        ),
        (
            [1, 3, 32, 32],
            {**ULTRALYTICS, "names": "{0: 'red', 2: 'blue'}"},
            None,
            "names: no label 1; expected one for each output, from 0 to 1",
        ),
        (
            [1, 3, 32, 32],
            {**ULTRALYTICS, "names": "{0: 'red', 1: 'green'}"},
            None,
            "3 outputs, but 2 labels (its metadata); expected one for each",
        ),
        (
            [1, 3, 32, 32],
            ULTRALYTICS,
            Description(size=64),
            "reads photos of 32 x 32 pixels; leave --size away",
        ),
        (
            [1, 3, "h", "w"],
            {**ULTRALYTICS, "imgsz": "[9999999, 9999999]"},
            None,
            "size [9999999, 9999999], expected 1 to 4096 pixels",
        ),
        (
            [1, 3, "h", "w"],
            {},
            SUFFICIENT,
            "does not say all that is needed; give --size of its photos in pixels",
        ),
        (
            [1, 4, 32, 32],
            {},
            SUFFICIENT,
            "reads (1, 4, 32, 32) of float32; "
            "expected one RGB photo, (1, height, width, 3) or (1, 3, height, width)",
        ),
        ([8, 3, 32, 32], {}, SUFFICIENT, "reads (8, 3, 32, 32) of float32; expected one RGB photo"),
        (
            [1, 3, 32, 32],
            {},
            Description("a,b,c", 0.5, 0.5, "crop", logits=True),
            "std 0.5, expected on the scale of pixel values, 0..255; multiply",
        ),
        (
            [1, 3, 32, 32],
            {},
            Description("a,b,c", 0, (1, 2), "crop", logits=True),
            "std (1.0, 2.0), expected one number or three above 0",
        ),
        (
            [1, 3, 32, 32],
            {},
            Description("a,b,c", 0, 255, "fit", logits=True),
            "resize 'fit', expected squash, crop or, with the share",
        ),
        (
            [1, 3, 32, 32],
            {},
            Description("a,b,c", 0, 255, "crop:0.01", logits=True),
            "crop 0.01, expected a size of at least 1 x 1 and a crop of 0.1 to 1",
        ),
        (
            [1, 3, 32, 32],
            {},
            Description("none.txt", 0, 255, "crop", logits=True),
            "none.txt: no such label file; expected a file, or labels with commas",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path,
    shape: list[int | str],
    keys: dict[str, str],
    description: Description | None,
    message: str,
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = MIXED if shape[1] == 3 else np.ones((3, 4))
    model = colour_onnx(tmp_path / "m.onnx", weights, shape, keys, softmax=bool(keys))
    with pytest.raises(ModelError) as caught:
        Classifier(model, description=description)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# Label files


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nred fox\n",
        "\ufeffcat\r\n dog \r\nred fox",
        "0 cat\n1  dog\n2\tred fox",
        "2: red fox\n0:cat\n1 : dog\n",
        '["cat", "dog", "red fox"]',
        '{"0": "cat", "2": "red fox", "1": "dog"}',
        '{"cat": 0, "red fox": 2, "dog": 1}',
        '{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "red fox"]}',
        '{"id2label": {"0": "cat", "1": "dog", "2": "red fox"}, "label2id": {"cat": 0}}',
        '{"label_names": ["cat", "dog", "red fox"], "num_classes": 3}',
    ],
)
def test_label_files(content: str) -> None:
    assert parse_labels(content.encode(), "here") == ("cat", "dog", "red fox")


def test_labels_that_begin_with_a_number_or_come_twice() -> None:
    assert parse_labels(b"1 euro\n2 euro", "here") == ("1 euro", "2 euro")
    assert parse_labels(b"0 euro\neuro", "here") == ("0 euro", "euro")
    assert read_labels(["crane", "heron", "crane"]) == ("crane", "heron", "crane (2)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "here: fewer than two labels; expected one label for each of the model's outputs"),
        (b"cat\n\ndog", "here: an empty label; expected one label for each of the model's outputs"),
        (b"0 cat\n2 dog", "here: no label 1; expected one for each output, from 0 to 1"),
        (b"0 cat\n0 dog", "here: no label 1; expected one for each output, from 0 to 1"),
        (
            b"\xff\xfe\x00",
            "here: not a label file; expected UTF-8 text with one label a line, or JSON",
        ),
        (b"{0: cat}", "here: not a label file; expected UTF-8 text with one label a line, or JSON"),
        (
            b'{"a": "cat"}',
            'here: expected a list of labels, {"0": "cat", "1": "dog"} or {"id2label": …}',
        ),
    ],
)
def test_files_that_are_no_label_files(content: bytes, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_labels(content, "here")
    assert str(caught.value) == message


# Damage


def test_damaged_metadata_never_do_more_than_be_refused() -> None:
    whole = stripped()
    place = whole.index(b"M001") - 4
    assert described_inside(whole, "tflite", "here").labels == ("cat", "dog", "neither")
    random = np.random.default_rng(4)
    refused = 0
    for trial in range(400):
        content = bytearray(whole)
        for spot in (
            random.integers(place, place + 700, 3) if trial % 2 else random.integers(0, 300, 3)
        ):
            content[spot] = int(random.integers(0, 256))
        try:
            described_inside(bytes(content), "tflite", "here")
        except ModelError:
            refused += 1
    assert refused > 20
    for length in (8, 12, 40, 1000, place + 8, place + 60):
        with pytest.raises(
            ModelError, match="here: damaged, its TFLite metadata point outside the file"
        ):
            described_inside(whole[:length], "tflite", "here")


def test_a_zip_that_unpacks_to_gigabytes_is_passed_over(tmp_path: Path) -> None:
    model = write(
        tmp_path / "bomb.tflite", without_zip() + zipped({"labels.txt": bytes(300_000_000)})
    )
    assert model.stat().st_size < DEFAULT_MODEL.stat().st_size + 1_000_000
    with pytest.raises(ModelError) as caught:
        Classifier(model)
    assert str(caught.value) == f"{model}: {ASKS}{ASKS_LABELS}{LOST}"


def test_a_file_with_a_card_takes_no_options(edgecat: Run, tmp_path: Path) -> None:
    shutil.copy(DEFAULT_MODEL, tmp_path / "ours.tflite")
    done = edgecat("classify", CHELSEA, "--model", "ours.tflite", "--labels", "a,b,c")
    assert (done.returncode, done.stdout) == (1, "")
    said = (
        "has a model card, which says all that is needed; "
        "leave the options away, or change it with 'edgecat label'"
    )
    assert done.stderr == f"edgecat: ours.tflite: {said}\n"


def test_wrong_usage(edgecat: Run) -> None:
    for options in (
        ("--mean", "1,2"),
        ("--std", "x"),
        ("--resize", "crop:2"),
        ("--resize", "pad"),
        ("--size", "2by2"),
    ):
        done = edgecat("classify", CHELSEA, "--model", DEFAULT_MODEL, *options)
        assert (done.returncode, done.stdout) == (2, ""), options
        assert options[0] in done.stderr
    assert edgecat("label", DEFAULT_MODEL, "--out", "x.tflite", "--in-place").returncode == 2
    assert edgecat("label").returncode == 2


# edgecat label


def test_a_labelled_file_needs_nothing_beside_it(edgecat: Run, tmp_path: Path) -> None:
    write(tmp_path / "theirs.tflite", without_zip() + zipped({"LICENSE": b"MIT"}))
    write(tmp_path / "labels.txt", "0 cat\n1 dog\n2 neither\n")
    done = edgecat("label", "theirs.tflite", "--name", "pets")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "theirs-labelled.tflite",
        "  labels   3: cat, dog, neither                     from labels.txt",
        "  mean     128                                      from its metadata",
        "  std      128                                      from its metadata",
        "  photo    224 x 224 pixels, squash                 from the custom of TFLite",
        "  outputs  probabilities                            from its outputs",
    ]
    assert done.stderr == "next: edgecat classify --model theirs-labelled.tflite PHOTO\n"
    (tmp_path / "elsewhere").mkdir()
    alone = (tmp_path / "theirs-labelled.tflite").rename(tmp_path / "elsewhere" / "a.tflite")
    assert classified(alone, CHELSEA) == classified(DEFAULT_MODEL, CHELSEA)
    card = read_card(alone)
    assert (card.name, card.labels, card.precision, card.verification) == (
        "pets",
        ("cat", "dog", "neither"),
        "int8",
        {},
    )
    assert alone.read_bytes().startswith(without_zip())  # the standard metadata among them
    with zipfile.ZipFile(alone) as archive:
        assert archive.namelist() == ["LICENSE", "labels.txt", "edgecat.json"]
        assert (archive.read("LICENSE"), archive.read("labels.txt")) == (
            b"MIT",
            b"cat\ndog\nneither\n",
        )
        assert archive.testzip() is None


def test_standard_metadata_and_their_label_file_stay_as_they_are(
    edgecat: Run, tmp_path: Path
) -> None:
    write(tmp_path / "theirs.tflite", stripped())
    assert edgecat("label", "theirs.tflite").returncode == 0
    assert (
        associated_files((tmp_path / "theirs-labelled.tflite").read_bytes())["labels.txt"]
        == associated_files(stripped())["labels.txt"]
    )
    # Other labels replace those in the zip, so that other runtimes say the same.
    assert edgecat("label", "theirs.tflite", "--labels", "Katze,Hund,nichts").returncode == 0
    assert associated_files((tmp_path / "theirs-labelled.tflite").read_bytes())[
        "labels.txt"
    ].split() == [b"Katze", b"Hund", b"nichts"]


def test_an_onnx_file_is_labelled(edgecat: Run, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = colour_onnx(tmp_path / "yolo.onnx", MIXED, ["batch", 3, "h", "w"], ULTRALYTICS)
    options = ("--mean", "120,110,100", "--std", "60", "--resize", "crop:0.9", "--logits")
    assert edgecat("label", "yolo.onnx", *options, "--out", "mine.onnx").returncode == 0
    mine = tmp_path / "mine.onnx"
    card = read_card(mine)
    assert (card.input.mean, card.input.std, card.input.resize, card.input.crop) == (
        (120, 110, 100),
        60,
        "crop",
        0.9,
    )
    assert (card.input.height, card.input.width, card.labels, card.scores) == (
        32,
        32,
        ("red", "green", "blue"),
        "logits",
    )
    assert {
        entry.key: entry.value for entry in onnx.load(mine).metadata_props
    }.items() >= ULTRALYTICS.items()
    said = Description(mean=(120, 110, 100), std=60, resize="crop:0.9", logits=True)
    assert classified(mine, CHELSEA) == classified(model, CHELSEA, said)


def test_a_labelled_file_may_be_labelled_again(edgecat: Run, tmp_path: Path) -> None:
    model = colour_tflite(tmp_path / "float.tflite", MIXED, softmax=False)
    assert (
        edgecat(
            "label",
            "float.tflite",
            "--labels",
            "a,b,c",
            "--mean",
            10,
            "--std",
            20,
            "--logits",
            "--in-place",
        ).returncode
        == 0
    )
    first = read_card(model)
    assert (
        edgecat(
            "label", "float.tflite", "--labels", "x,y,z", "--resize", "crop", "--in-place"
        ).returncode
        == 0
    )
    again = read_card(model)
    assert (again.labels, again.input.resize, again.sha256) == (
        ("x", "y", "z"),
        "crop",
        first.sha256,
    )
    assert (again.input.mean, again.input.std, again.scores) == (10, 20, "logits")
    with zipfile.ZipFile(model) as archive:
        assert archive.namelist() == ["labels.txt", "edgecat.json"]


def test_labelling_that_fails_leaves_everything_as_it_was(edgecat: Run, tmp_path: Path) -> None:
    write(tmp_path / "theirs.tflite", without_zip())
    done = edgecat("label", "theirs.tflite")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"edgecat: theirs.tflite: {ASKS}{ASKS_LABELS}{LOST}\n",
    )
    done = edgecat("label", "theirs.tflite", "--labels", "a,b", "--in-place")
    assert (done.returncode, (tmp_path / "theirs.tflite").read_bytes()) == (1, without_zip())
    write(tmp_path / "taken.tflite", "somebody's own")
    done = edgecat("label", "theirs.tflite", "--labels", "a,b,c", "--out", "taken.tflite")
    said = (
        "exists and was not made by 'edgecat label'; give --force to overwrite it, or another --out"
    )
    assert (done.returncode, done.stderr) == (1, f"edgecat: taken.tflite: {said}\n")
    assert (tmp_path / "taken.tflite").read_text() == "somebody's own"
    done = edgecat("label", "theirs.tflite", "--labels", "a,b,c", "--out", "nowhere/x.tflite")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: nowhere/x.tflite: cannot be written (No such file or directory); "
        "give another file with --out\n",
    )
    done = edgecat("label", "theirs.tflite", "--labels", "a,b,c", "--out", "x.onnx")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: x.onnx: expected a name that ends in .tflite\n",
    )
    shutil.copy(DEFAULT_MODEL, tmp_path / "ours.tflite")
    done = edgecat("label", "ours.tflite", "--labels", "a,b,c")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: ours.tflite: made and verified by 'edgecat export', which labelled it; "
        "nothing to do\n",
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "theirs.tflite",
        "taken.tflite",
        "ours.tflite",
    }


def test_a_card_without_anything_new_is_written_as_before() -> None:
    text = read_card(DEFAULT_MODEL).to_json()
    assert text.encode() == associated_files(DEFAULT_MODEL.read_bytes())["edgecat.json"]
    for broken in (
        {"scores": "votes"},
        {"input": {"height": 8, "width": 8, "resize": "pad"}},
        {"input": {"height": 8, "width": 8, "std": [1, 2]}},
    ):
        with pytest.raises(EdgecatError, match="here: its model card cannot be read"):
            ModelCard.from_json(json.dumps(json.loads(text) | broken), "here")
