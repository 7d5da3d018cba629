"""The model card of a model that edgecat did not make; the user is asked for what is unknown."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from edgecat.card import Channels, InputRecipe, ModelCard
from edgecat.engines import Engine, TensorSpec, choose_engine, default_threads, open_engine
from edgecat.errors import ModelError
from edgecat.files import may_replace, whole_file
from edgecat.foreign.description import Description, described_inside, parse_resize
from edgecat.foreign.label_file import read_labels
from edgecat.foreign.tflite_metadata import label_file_name
from edgecat.foreign.trial import are_probabilities, run_on_orange
from edgecat.formats import LABELS_NAME, detect, find_card, read_card, write_card

# The first of 1,001 outputs if the label file has 1,000 lines, as with the first MobileNets.
BACKGROUND = "background"
# Of a model's input, if it treats all of RGB alike.
_USUAL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
GIVEN = "as given"
METADATA = "its metadata"  # what other makers wrote into the file
_LARGEST = 4096  # pixels of height or width
_ASKED = {  # Description's fields, as the user is asked for them
    "labels": "--labels FILE or cat,dog,… in the order of its outputs",
    "mean": "--mean and --std (it reads (pixel - mean) / std, pixel in 0..255)",
    "std": "--mean and --std (it reads (pixel - mean) / std, pixel in 0..255)",
    "resize": "--resize squash, crop or crop:SHARE",
    "size": "--size of its photos in pixels",
    "logits": "--logits or --probabilities, whichever its outputs are",
}


class Described(NamedTuple):
    """A card, and the source of each of its parts."""

    card: ModelCard
    sources: Mapping[str, str]  # of Description's fields


def describe(
    path: Path, engine: Engine, given: Description, earlier: ModelCard | None = None
) -> Described:
    """Return the card of a model without one, or the `earlier` card with the changes in `given`.

    Raise ModelError, which names all that is missing.
    """
    kind, spec, model = detect(path), engine.input, path.read_bytes()
    known: dict[str, tuple[Any, str]] = {}

    def learn(source: str, said: Description) -> None:
        for name, value in vars(said).items():
            if value is not None:
                known.setdefault(name, (value, source))

    # What counts most comes first.
    height, width = _photo_size(path, spec, given)
    learn(GIVEN, given)
    if earlier is not None:
        learn("its card", _described_by_card(earlier))
    learn(METADATA, described_inside(model, kind, str(path)))
    if "labels" not in known and (beside := _label_file_beside(path)) is not None:
        learn(beside.name, Description(labels=beside))
    learn("its input tensor", _described_by_tensor(spec))
    if kind == "tflite":  # what MediaPipe, the Task Library and Coral's examples all do
        learn("the custom of TFLite", Description(resize="squash"))
    if not (height and width) and "size" in known:
        height, width = _pair(path, known["size"][0])
    outputs = run_on_orange(path, engine, height, width) if height and width else None
    if outputs is not None and are_probabilities(outputs, engine.output):
        learn("its outputs", Description(logits=False))

    missing = [
        name
        for name in _ASKED
        if name not in known and not (name == "size" and outputs is not None)
    ]
    if missing or outputs is None:
        lost = label_file_name(model) if kind == "tflite" and "labels" in missing else None
        asked = "; ".join(dict.fromkeys(_ASKED[name] for name in missing))
        raise ModelError(
            f"{path}: has no model card, and does not say all that is needed; give {asked}"
            + (
                f" (its metadata name '{lost}', which is not in the file: is it cut short?)"
                if lost
                else ""
            )
        )
    labels = read_labels(known["labels"][0], f"{path}: labels")
    if len(outputs) == 1001 and len(labels) == 1000:
        labels = (BACKGROUND, *labels)
    if len(labels) != len(outputs) and (len(labels), len(outputs)) != (2, 1):
        raise ModelError(
            f"{path}: {len(outputs)} outputs, but {len(labels)} labels ({known['labels'][1]}); "
            "expected one for each, give them with --labels"
        )
    try:
        mean, std = (_channels(known[name][0]) for name in ("mean", "std"))
        if np.max(std) < 1:
            raise ValueError(
                f"std {std}, expected on the scale of pixel values, 0..255; "
                "multiply it and the mean by 255"
            )
        rule, crop = parse_resize(known["resize"][0])
        recipe = InputRecipe(height, width, rule, mean, std, crop)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: {error}") from None
    card = ModelCard(
        name=earlier.name if earlier else path.stem,
        architecture="",
        labels=labels,
        input=recipe,
        precision="int8" if spec.scale else "",
        licence=known["licence"][0] if "licence" in known else "",
        scores="logits" if known["logits"][0] else "probabilities",
    )
    return Described(card, {name: source for name, (_, source) in known.items()})


def label(
    path: Path, out: Path, given: Description, name: str | None = None, overwrite: bool = False
) -> Described:
    """Write the model at `path` to `out` with a card in it; the file's own metadata stay.

    `given` changes an earlier card, unless 'edgecat export' made that one: it was verified.
    Raise EdgecatError, and then leave no file.
    """
    kind = detect(path)
    if kind == "keras":
        raise ModelError(
            f"{path}: a Keras checkpoint; make a model file of it with: "
            f"edgecat export {path} --int8"
        )
    earlier = find_card(path)
    if earlier is not None and earlier.verification:
        raise ModelError(
            f"{path}: made and verified by 'edgecat export', which labelled it; nothing to do"
        )
    if out.suffix != path.suffix:
        raise ModelError(f"{out}: expected a name that ends in {path.suffix}")
    may_replace(out, overwrite, _labelled_by_edgecat, "edgecat label", error=ModelError)
    engine = open_engine(path, choose_engine(kind), default_threads())
    try:
        card, sources = describe(path, engine, given, earlier)
    finally:
        engine.close()
    card = dataclasses.replace(card, name=name or card.name)
    model = path.read_bytes()
    # Write the labels into the label file of the metadata too, for other runtimes. If the labels
    # come from there, it stays unchanged.
    labels_name = None
    if sources["labels"] != METADATA:
        labels_name = (label_file_name(model) if kind == "tflite" else None) or LABELS_NAME
    content = write_card(model, card, labels_name)
    try:
        with whole_file(out) as part:
            part.write_bytes(content)
            shutil.copymode(path, part)
    except OSError as error:
        raise ModelError(
            f"{out}: cannot be written ({error.strerror}); give another file with --out"
        ) from None
    return Described(card, sources)


def _labelled_by_edgecat(path: Path) -> bool:
    try:
        return not read_card(path).verification
    except ModelError:
        return False


def _described_by_card(card: ModelCard) -> Description:
    recipe = card.input
    resize = recipe.resize if recipe.crop == 1 else f"{recipe.resize}:{recipe.crop}"
    return Description(
        card.labels,
        recipe.mean,
        recipe.std,
        resize,
        (recipe.height, recipe.width),
        card.scores == "logits",
        card.licence,
    )


def _label_file_beside(path: Path) -> Path | None:
    """Return the label file in the model's folder, or None.

    It is MODEL.txt, MODEL_labels.txt, labels.txt, or the only *labels*.txt.
    """
    for name in (f"{path.stem}.txt", f"{path.stem}_labels.txt", "labels.txt"):
        if (path.parent / name).is_file():
            return path.parent / name
    found = [file for file in path.parent.glob("*labels*.txt") if file.is_file()]
    return found[0] if len(found) == 1 else None


def _described_by_tensor(spec: TensorSpec) -> Description:
    """Return the normalisation that an integer input implies.

    A pixel value is the integer itself, which stands for `scale * (integer - zero_point)`.
    Only usual ranges count, since others may come from a mean and std for each channel.
    """
    if spec.dtype == np.uint8 and not spec.scale:
        return Description(mean=0.0, std=1.0)
    if spec.dtype in (np.uint8, np.int8) and spec.scale:
        least = int(np.iinfo(spec.dtype).min)
        zero = spec.zero_point - least  # the pixel value that stands for 0
        low, high = -zero * spec.scale, (255 - zero) * spec.scale
        if any(
            abs(low - usual_low) < 2 * spec.scale and abs(high - usual_high) < 2 * spec.scale
            for usual_low, usual_high in _USUAL_RANGES
        ):
            return Description(mean=float(zero), std=round(1 / spec.scale, 3))
    return Description()


def _photo_size(path: Path, spec: TensorSpec, given: Description) -> tuple[int, int]:
    """Return (height, width) of a model's input, 0 if it takes any."""
    shape = spec.photo_shape
    if (
        len(shape) != 4
        or shape[0] != 1
        or shape[3] != 3
        or spec.dtype not in (np.float32, np.float16, np.uint8, np.int8)
    ):
        raise ModelError(
            f"{path}: reads {spec.shape} of {spec.dtype}; "
            "expected one RGB photo, (1, height, width, 3) or (1, 3, height, width)"
        )
    if given.size is not None and any(
        n and n != wanted for n, wanted in zip(shape[1:3], _pair(path, given.size), strict=True)
    ):
        raise ModelError(
            f"{path}: reads photos of {shape[1]} x {shape[2]} pixels; leave --size away"
        )
    return shape[1], shape[2]


def _pair(path: Path, size: Any) -> tuple[int, int]:
    """Return `size` as (height, width). Raise ModelError."""
    try:
        height, width = (size, size) if isinstance(size, int) else map(int, size)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= _LARGEST and 1 <= width <= _LARGEST):
        raise ModelError(
            f"{path}: size {size}, expected 1 to {_LARGEST} pixels, or (height, width)"
        )
    return height, width


def _channels(values: Any) -> Channels:
    try:
        several = tuple(map(float, values))
    except TypeError:  # one number
        return float(values)
    if len(several) == 1:
        return several[0]
    return cast("tuple[float, float, float]", several)  # InputRecipe checks that they are three
