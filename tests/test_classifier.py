"""Classifier with the default model: this cat is a cat, in every form and from every thread."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real import CHELSEA, COFFEE

import edgecat
from edgecat import Classifier, EdgecatError, EngineError, ModelError, PhotoError
from edgecat.models import DEFAULT_MODEL


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def test_a_cat_is_a_cat_and_coffee_is_neither(classifier: Classifier) -> None:
    assert edgecat.classify(CHELSEA).label == "cat"
    assert classifier.classify(CHELSEA).score > 0.9
    assert classifier.classify(COFFEE).label == "neither"


def test_every_form_of_a_photo_gives_the_same_scores(classifier: Classifier) -> None:
    content = CHELSEA.read_bytes()
    with Image.open(CHELSEA) as image:
        decoded = image.convert("RGB")
    expected = classifier.classify(CHELSEA)
    for photo in (
        str(CHELSEA),
        content,
        io.BytesIO(content),
        Image.open(io.BytesIO(content)),
        decoded,
        np.asarray(decoded),
    ):
        assert classifier.classify(photo) == expected


def test_scores_are_probabilities_best_first(classifier: Classifier) -> None:
    result = classifier.classify(CHELSEA)
    assert {score.label for score in result.scores} == {"cat", "dog", "neither"}
    assert [score.score for score in result.scores] == sorted(
        (score.score for score in result.scores), reverse=True
    )
    assert sum(score.score for score in result.scores) == pytest.approx(1, abs=3 / 256)
    assert (result.label, result.score) == result.scores[0]
    assert result.group == "cat"
    assert result.engine.startswith(("LiteRT ", "tflite-runtime "))


def test_scores_by_label(classifier: Classifier) -> None:
    scores = classifier.classify(CHELSEA).scores
    assert scores["cat"] == scores[0].score
    assert {label: scores[label] for label in classifier.card.labels} == dict(scores)
    assert len(scores[:2]) == 2
    with pytest.raises(KeyError, match="sofa"):
        scores["sofa"]


def test_a_result_says_which_photo_it_is_about(classifier: Classifier) -> None:
    with Image.open(CHELSEA) as image:
        assert classifier.classify(image).photo == str(CHELSEA)
        assert classifier.classify(np.asarray(image)).photo is None
    with CHELSEA.open("rb") as file:
        assert classifier.classify(file).photo == str(CHELSEA)
    assert classifier.classify(str(CHELSEA)).photo == str(CHELSEA)
    assert classifier.classify(CHELSEA.read_bytes()).photo is None
    photos = [CHELSEA, COFFEE]
    assert [result.photo for result in classifier.classify_many(photos)] == [*map(str, photos)]


def test_the_classifier_gives_what_the_bare_engine_gives(classifier: Classifier) -> None:
    interpreter = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="needs ai-edge-litert"
    ).Interpreter(str(DEFAULT_MODEL), num_threads=1)
    interpreter.allocate_tensors()
    read, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    photo = (
        Image.open(CHELSEA)
        .convert("RGB")
        .resize((read["shape"][2], read["shape"][1]), Image.Resampling.BILINEAR)
    )
    scale, zero_point = read["quantization"]
    recipe = classifier.card.input
    tensor = (np.asarray(photo, np.float64) - recipe.mean) / recipe.std
    interpreter.set_tensor(
        read["index"],
        np.clip(np.round(tensor / scale + zero_point), 0, 255).astype(read["dtype"])[np.newaxis],
    )
    interpreter.invoke()
    bare = (
        interpreter.get_tensor(said["index"])[0].astype(np.float64) - said["quantization"][1]
    ) * said["quantization"][0]
    assert dict(classifier.classify(CHELSEA).scores) == pytest.approx(
        dict(zip(classifier.card.labels, bare, strict=True)), abs=1e-6
    )


def test_unsure_below_the_threshold() -> None:
    with Classifier(threshold=1.0) as strict:
        result = strict.classify(
            np.random.default_rng(0).integers(0, 255, (160, 160, 3), dtype=np.uint8)
        )
    assert result.label == result.group == "unsure"
    assert result.score == result.scores[0].score


def test_many_keep_their_order(classifier: Classifier) -> None:
    photos = [CHELSEA, COFFEE] * 20
    assert [result.label for result in classifier.classify_many(photos, workers=4)] == [
        "cat",
        "neither",
    ] * 20


def test_many_are_read_as_they_are_needed(classifier: Classifier) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield CHELSEA

    results = classifier.classify_many(endless(), workers=2)  # type: ignore[arg-type]
    assert [next(results).label for _ in range(3)] == ["cat"] * 3
    results.close()  # type: ignore[attr-defined]
    assert taken < 12


def test_many_go_on_after_a_broken_photo(classifier: Classifier, tmp_path: Path) -> None:
    failed: list[object] = []
    photos = [CHELSEA, tmp_path / "none.jpg", COFFEE]
    results = list(
        classifier.classify_many(photos, on_error=lambda photo, error: failed.append(photo))
    )
    assert [result.label for result in results] == ["cat", "neither"]
    assert failed == [tmp_path / "none.jpg"]
    with pytest.raises(PhotoError, match="no such file"):
        list(classifier.classify_many(photos))


def test_threads_may_share_a_classifier(classifier: Classifier) -> None:
    expected = {photo: classifier.classify(photo) for photo in (CHELSEA, COFFEE)}
    start = threading.Barrier(4)

    def work(photo: Path) -> bool:
        start.wait()
        return all(classifier.classify(photo) == expected[photo] for _ in range(15))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, [CHELSEA, COFFEE, CHELSEA, COFFEE]))


def test_a_closed_classifier_says_so() -> None:
    with Classifier() as closed:
        pass
    with pytest.raises(EngineError, match="the classifier is closed; open a new one"):
        closed.classify(CHELSEA)


def test_the_default_model_says_what_it_is() -> None:
    card = edgecat.read_card(DEFAULT_MODEL)
    assert card.labels == ("cat", "dog", "neither")
    assert card.precision == "int8"
    assert card.training["photos"]["neither"] > 1000
    assert card.verification["agreement"] > 0.9
    assert card.calibration["photos"] == 500


def hostile_models(folder: Path) -> dict[str, tuple[Path, str]]:
    whole = DEFAULT_MODEL.read_bytes()
    contents = {
        "empty.tflite": (b"", "not a model file; expected .tflite or .onnx"),
        "text.tflite": (b"I am no model, but I am long enough", "not a model file"),
        "photo.onnx": (CHELSEA.read_bytes(), "not a model file"),
        "cut.tflite": (
            whole[: len(whole) // 2],
            "cannot open this model (The model is not a valid Flatbuffer buffer); "
            "copy or export it again",
        ),
        "tail.tflite": (
            whole[:-1],
            "has no model card, and does not say all that is needed; give --labels FILE",
        ),
        "changed.tflite": (
            whole[:100_000] + bytes([whole[100_000] ^ 1]) + whole[100_001:],
            "damaged, its bytes are not those that were exported",
        ),
        "zip.tflite": (whole[:20_000] + whole[-20_000:], ""),
        "cut.onnx": (b"\x08\x08\x3a\xff\xff\x03abc", "cannot open this model"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: (folder / name, message) for name, (_, message) in contents.items()} | {
        "none.tflite": (folder / "none.tflite", "no such model file")
    }


@pytest.mark.parametrize(
    "case",
    [
        "empty.tflite",
        "text.tflite",
        "photo.onnx",
        "cut.tflite",
        "tail.tflite",
        "changed.tflite",
        "zip.tflite",
        "cut.onnx",
        "none.tflite",
    ],
)
def test_what_is_no_model_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    path, message = hostile_models(tmp_path)[case]
    if case == "cut.onnx":
        pytest.importorskip("onnxruntime", reason="needs edgecat[onnx]")
    with pytest.raises(EdgecatError) as caught:
        Classifier(path)
    assert isinstance(caught.value, ModelError) or "cannot open this model" in message
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_and_unfitting_engines() -> None:
    with pytest.raises(
        EngineError,
        match="unknown engine 'tensorrt'; "
        "expected one of litert, tflite-runtime, tensorflow, onnxruntime",
    ):
        Classifier(engine="tensorrt")
    with pytest.raises(
        EngineError,
        match=r"engine 'onnxruntime' does not run \.tflite files; "
        "expected litert or tflite-runtime or tensorflow",
    ):
        Classifier(engine="onnxruntime")


def test_a_missing_engine_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        EngineError,
        match=r"no engine for \.tflite files is installed; "
        "install one with: pip install ai-edge-litert",
    ):
        Classifier()
