"""`edgecat export` of Keras files that it did not train: what it takes, what it refuses."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from edgecat_export.synthetic_inputs import noise
from PIL import Image
from real import CHELSEA, COFFEE, ROOT, Run

from edgecat import Classifier, InputRecipe, read_card

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras
]
MOBILENET = ROOT / "export" / "edgecat_export" / "checkpoints" / "mobilenet.keras"
RUN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import edgecat.cli; edgecat.cli.main()",
    "export",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small .keras files that Keras alone wrote."""
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(1)

    def save(
        name: str,
        *after: keras.Layer,
        size: tuple[int | None, ...] = (32, 32, 3),
        before: tuple[keras.Layer, ...] = (layers.Rescaling(1 / 255),),
    ) -> None:
        values = pixels = keras.Input(size)
        for layer in (
            *before,
            layers.Conv2D(8, 3, 2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            *after,
        ):
            values = layer(values)
        keras.Model(pixels, values).save(folder / f"{name}.keras")

    three = layers.Dense(3, "softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=8))
    save(
        "logits",
        layers.Dropout(0.5),
        layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(stddev=8)),
    )
    save(
        "sigmoid",
        layers.Dense(1, "sigmoid", kernel_initializer="ones"),
        before=(layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1)),
    )
    save("plain", three, before=())
    colours = layers.Normalization(mean=[124, 117, 104], variance=[3400, 3300, 3200])
    save("colours", three, before=(colours,))
    base = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, 2, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
        ],
        name="base",
    )
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    save("transfer", three, before=(augmentation, layers.Rescaling(1 / 127.5, -1), base))
    save("grey", three, size=(32, 32, 1))
    save("any_size", three, size=(None, None, 3))
    save("many", layers.Dense(3, "sigmoid", name="tags"))
    save("linear", layers.Dense(1, name="value"))
    save("relu", layers.Dense(3, "relu", name="positive"))
    save(
        "lanczos",
        three,
        before=(layers.Rescaling(1 / 255), layers.Resizing(40, 40, "lanczos5", name="enlarge")),
    )
    save(
        "unit",
        three,
        before=(layers.Rescaling(1 / 255), layers.UnitNormalization(name="direction")),
    )
    vector = keras.Input((7,))
    keras.Model(vector, layers.Dense(3, "softmax")(vector)).save(folder / "vector.keras")
    left, right = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    keras.Model([left, right], layers.Dense(3, "softmax")(layers.Flatten()(left + right))).save(
        folder / "two.keras"
    )
    save("lambda", layers.Lambda(lambda x: x * 2, name="twice"))

    @keras.saving.register_keras_serializable()
    class Mine(layers.Layer):  # type: ignore[misc]
        def call(self, values: object) -> object:
            return values

    save("custom", Mine(name="own"))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, label in enumerate(("a", "b", "c")):
        (folder / label).mkdir()
        for number, picture in enumerate(noise(InputRecipe(64, 64), 6, seed)):
            Image.fromarray(picture).save(folder / label / f"{number}.png")
    return folder


ABC = ("--labels", "a,b,c")
ONE_IMAGE = "expected one RGB image of a fixed size, (batch, height, width, 3)"
MEANING = "expected a softmax, logits (no activation), or one sigmoid unit and two labels"
REFUSED = {  # these are seen only once Keras has loaded the file: all are run at once
    "grey": (ABC, f"its input is (None, 32, 32, 1), grey; {ONE_IMAGE}"),
    "vector": (ABC, f"its input is (None, 7); {ONE_IMAGE}"),
    "two": (ABC, f"2 inputs, (None, 32, 32, 3) and (None, 32, 32, 3); {ONE_IMAGE}"),
    "any_size": (
        ABC,
        f"its input is (None, None, None, 3), of no fixed size; {ONE_IMAGE}; "
        "call it on keras.Input((224, 224, 3)), or another size, and save that model",
    ),
    "many": (
        ABC,
        f"'tags' has 3 sigmoid units, each label true or not by itself; {MEANING}: "
        "edgecat gives each photo one label",
    ),
    "linear": (
        ("--labels", "a,b"),
        f"'value' is one linear unit, whose value may mean anything; {MEANING}; "
        "put activation='sigmoid' on it if it is a logit",
    ),
    "relu": (ABC, f"it ends in 'positive' (relu), whose values are no probabilities; {MEANING}"),
    "logits": (
        ("--labels", "a,b"),
        "3 answers, but --labels has 2; expected one for each, in the order of the outputs",
    ),
    "sigmoid": (
        ABC,
        "2 answers, but --labels has 3; expected one for each, in the order of the outputs",
    ),
    "plain": (
        (),
        "carries no model card; give --labels FILE or --labels a,b,… "
        "(3, in the order of the outputs) and --mean and --std: "
        "the model reads (pixel - mean) / std, pixel in 0..255",
    ),
    "colours": (
        (*ABC, "--mean", "128", "--std", "128"),
        "it normalises its input itself; leave --mean and --std out",
    ),
    "lanczos": (
        (*ABC, "--format", "tflite"),
        "layer 'enlarge' (Resizing) cannot be converted by to_tflite "
        "('tf.ScaleAndTranslate' op is neither a custom op nor a flex op); "
        "build the model without it",
    ),
}


@pytest.fixture(scope="module")
def refusals(models: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = [
            *RUN,
            str(models / f"{name}.keras"),
            "--fp32",
            "--out",
            str(models / "out"),
            *REFUSED[name][0],
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(REFUSED, pool.map(run, REFUSED), strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_is_no_image_classifier_is_refused(
    refusals: dict[str, subprocess.CompletedProcess[str]], models: Path, name: str
) -> None:
    done = refusals[name]
    assert (done.returncode, done.stdout) == (1, "")
    where = "lanczos-fp32.tflite: " if name == "lanczos" else f"{models / name}.keras: "
    assert done.stderr.splitlines()[-1] == f"edgecat: {where}{REFUSED[name][1]}"
    assert "Traceback" not in done.stderr
    assert not (models / "out").exists()


def test_a_layer_that_cannot_be_quantised_is_named(
    edgecat: Run, models: Path, photos: Path, tmp_path: Path
) -> None:
    asked = ("--int8", "--fp32", "--format", "tflite", *ABC, "--data", photos)
    done = edgecat("export", models / "unit.keras", *asked)
    assert done.returncode == 1
    int8 = "edgecat: unit-int8.tflite: "
    [complaint] = [line for line in done.stderr.splitlines() if line.startswith(int8)]
    assert "'direction'" in complaint
    assert "unit-fp32.tflite" in done.stdout  # the other file is made and verified
    assert not (tmp_path / "unit-int8.tflite").exists()


@pytest.mark.parametrize(
    ("name", "options", "labels"),
    [
        ("logits", (), "abc"),
        ("sigmoid", (), "ab"),
        ("colours", (), "abc"),
        ("transfer", (), "abc"),
        ("plain", ("--mean", "127.5", "--std", "127.5"), "abc"),
    ],
)
def test_a_keras_file_without_a_card_answers_like_keras(
    edgecat: Run, models: Path, tmp_path: Path, name: str, options: tuple[str, ...], labels: str
) -> None:
    import keras

    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    done = edgecat("export", models / f"{name}.keras", "--fp32", "--labels", "labels.txt", *options)
    assert done.returncode == 0, done.stderr
    original = keras.models.load_model(models / f"{name}.keras", compile=False)
    for kind in ("tflite", "onnx"):
        with Classifier(tmp_path / f"{name}-fp32.{kind}") as classifier:
            assert classifier.card.labels == tuple(labels)
            for photo in (CHELSEA, COFFEE):
                pixels = classifier.pixels(photo)
                values = pixels[None].astype(np.float32)
                [wanted] = np.asarray(
                    original.predict_on_batch((values - 127.5) / 127.5 if options else values)
                )
                if name == "logits":
                    wanted = np.exp(wanted) / np.exp(wanted).sum()
                if name == "sigmoid":
                    wanted = np.array([1 - wanted[0], wanted[0]])
                assert classifier.run(classifier.tensor(pixels)) == pytest.approx(wanted, abs=1e-4)
    card = read_card(tmp_path / f"{name}-fp32.onnx")
    recipe = {"logits": (0, 255), "colours": (128, 128)}.get(name, (127.5, 127.5))
    assert (card.input.mean, card.input.std) == pytest.approx(recipe, abs=1e-3)
    assert card.made_by["command"].startswith(f"edgecat export {name}.keras --labels labels.txt")


def test_without_a_card_int8_is_calibrated_on_photos(
    edgecat: Run, models: Path, photos: Path, tmp_path: Path
) -> None:
    done = edgecat("export", models / "logits.keras", "--int8", *ABC)
    assert done.stderr == (
        f"edgecat: {models}/logits.keras: carries no calibration, which int8 needs; "
        "give a folder of training photos with --data, or take --fp16\n"
    )
    (photos / "a" / "cut.png").write_bytes((photos / "a" / "0.png").read_bytes()[:300])
    (photos / "b" / "text.jpg").write_text("no photo")
    done = edgecat(
        "export", models / "logits.keras", "--int8", *ABC, "--data", photos, "--max-drop", "100"
    )
    assert f"left out: {photos}/a/cut.png: broken photo" in done.stderr
    assert f"left out: {photos}/b/text.jpg: not a photo" in done.stderr
    assert "photos: 9 to calibrate on, 9 others to verify on" in done.stderr
    assert "logits-int8.onnx" in done.stdout
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "b").mkdir()
    for path in ("broken/a/1.jpg", "broken/b/1.jpg", "broken/b/2.jpg"):
        (tmp_path / path).write_text(f"no photo {path}")
    done = edgecat("export", models / "logits.keras", "--int8", *ABC, "--data", "broken")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "edgecat: class 'a' has no photo that can be read",
    )


def test_code_in_a_file_is_refused_and_never_run(
    edgecat: Run, models: Path, tmp_path: Path
) -> None:
    end = "which edgecat never runs; build the model from Keras's own layers only\n"
    done = edgecat("export", models / "lambda.keras", "--fp32", *ABC)
    assert (done.returncode, done.stderr) == (
        1,
        f"edgecat: {models}/lambda.keras: layer 'twice' is code of its own (a Lambda), {end}",
    )
    done = edgecat("export", models / "custom.keras", "--fp32", *ABC)
    assert (done.returncode, done.stderr) == (
        1,
        f"edgecat: {models}/custom.keras: layer 'own' is code of its own (Mine), {end}",
    )
    # A file that names a module beside it, as an attacker would: importing it would leave a trace.
    for module in ("evil", "keras_hub"):
        (tmp_path / f"{module}.py").write_text("open('trace', 'w').close()\nclass Layer: pass\n")
        with (
            zipfile.ZipFile(MOBILENET) as source,
            zipfile.ZipFile(tmp_path / "evil.keras", "w") as target,
        ):
            for name in source.namelist():
                content = source.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    config["config"]["layers"][1] |= {"module": module, "class_name": "Layer"}
                    content = json.dumps(config).encode()
                target.writestr(name, content)
        done = edgecat("export", "evil.keras", "--fp32")
        assert (done.returncode, done.stderr) == (
            1,
            f"edgecat: evil.keras: layer 'conv1' is code of its own (Layer), {end}",
        )
    assert not (tmp_path / "trace").exists()


def test_options_for_a_model_without_a_card(edgecat: Run, models: Path) -> None:
    done = edgecat("export", MOBILENET, *ABC)
    assert (done.returncode, done.stderr) == (
        1,
        f"edgecat: {MOBILENET}: carries its labels and its recipe; "
        "leave --labels, --mean and --std out\n",
    )
    done = edgecat("export", models / "plain.keras", "--fp32", "--labels", "none.txt")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: none.txt: no such label file; expected a file, or labels with commas between\n",
    )
    for options, complaint in (
        (("--mean", "a"), "'a', expected one number, or three"),
        (("--std", "1,2"), "'1,2', expected one number, or three"),
        (("--std", "0"), "above 0"),
    ):
        done = edgecat("export", MOBILENET, *options)
        assert done.returncode == 2
        assert complaint in done.stderr
