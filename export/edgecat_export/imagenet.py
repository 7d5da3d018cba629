"""The 1,000-class ImageNet models of the architectures, as checkpoints that `pipeline.export` takes."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import sys
import warnings
import zipfile
from pathlib import Path

from edgecat.card import ModelCard
from edgecat.errors import DataError, ModelError
from edgecat.formats.archive import ZIP_NAME
from edgecat.labels import imagenet_classes, imagenet_groups
from edgecat_export.architectures import find_architecture


def imagenet_checkpoint(
    folder: Path,
    architecture: str,
    weights: str,
    size: int | None = None,
    alpha: float | None = None,
) -> Path:
    """Write the architecture as trained on ImageNet, with its names and groups in the card, as a checkpoint into `folder`.

    `weights` is "imagenet", which keras.applications downloads, or a file of them. Raises ModelError, DataError.
    """
    found = find_architecture(architecture, alpha, imagenet=True)
    size, alpha = size or found.size, alpha or found.alpha
    if weights != "imagenet" and not Path(weights).is_file():
        raise DataError(
            f"{weights}: no such file; expected ImageNet weights as .h5 or .weights.h5, or the word imagenet"
        )
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            warnings.catch_warnings(),
        ):  # Keras shows on stdout how far the download is
            warnings.simplefilter(
                "ignore"
            )  # of a file that does not fit, a hundred lines before the error
            model = found.network(size, alpha, weights, top=True)
    except ModelError as error:
        raise ModelError(f"{architecture}: {error}") from None
    except Exception as error:  # a failed download is an Exception and no more
        width = "" if alpha is None else f" with alpha {alpha}"
        if weights != "imagenet":
            raise ModelError(
                f"{weights}: not the ImageNet weights of {architecture}{width}; "
                f"expected .h5 or .weights.h5 with all 1,000 classes{', and their width as --alpha' if width else ''}"
            ) from None
        reason = str(error).strip().splitlines()[0]
        size_of = f"{width} and size {size}" if width else f" with size {size}"
        raise ModelError(
            f"no ImageNet weights of {architecture}{size_of}: {reason}; give a file with --weights FILE"
        ) from None
    card = ModelCard(
        name=f"{architecture}-imagenet",
        architecture=architecture,
        labels=tuple(known.name for known in imagenet_classes()),
        groups=imagenet_groups(),
        input=found.imagenet_recipe(size),
        training={"data": "ImageNet (ILSVRC 2012)", "weights": Path(weights).name}
        | ({} if alpha is None else {"alpha": alpha}),
        made_by=_made_by(architecture, weights, size, alpha),
        licence=found.imagenet_licence
        if weights == "imagenet"
        else "",  # of a file it is not known
    )
    path = folder / f"{card.name}.keras"
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ZIP_NAME, card.to_json())
    return path


def _made_by(architecture: str, weights: str, size: int, alpha: float | None) -> dict[str, str]:
    words = [
        "edgecat",
        "export",
        architecture,
        "--weights",
        Path(weights).name,
        "--size",
        str(size),
    ]
    words += [] if alpha is None else ["--alpha", f"{alpha:g}"]
    digest = (
        {}
        if weights == "imagenet"
        else {"sha256": hashlib.sha256(Path(weights).read_bytes()).hexdigest()}
    )
    return {"command": shlex.join(words), "weights": Path(weights).name, **digest}
