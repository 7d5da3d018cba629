"""The 1,000-class ImageNet models of the architectures, as checkpoints that `pipeline.export` takes."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import sys
import warnings
import zipfile
from pathlib import Path

from edgecat.errors import DataError, ModelError
from edgecat.labels import imagenet_classes, imagenet_groups
from edgecat.model_file import ZIP_NAME, ModelCard
from edgecat.photo import InputRecipe
from edgecat_export.architectures import find_architecture

MEAN = STD = 127.5  # the MobileNets of keras.applications were trained on x / 127.5 - 1


def imagenet_checkpoint(folder: Path, architecture: str, weights: str, size: int | None = None, alpha: float | None = None) -> Path:
    """Write the architecture as trained on ImageNet, with its names and groups in the card, as a checkpoint into `folder`.

    `weights` is "imagenet", which keras.applications downloads, or a file of them. Raises ModelError, DataError.
    """
    found = find_architecture(architecture)
    size, alpha = size or found.size, alpha or found.alpha
    if weights != "imagenet" and not Path(weights).is_file():
        raise DataError(f"{weights}: no such file; expected ImageNet weights as .h5 or .weights.h5, or the word imagenet")
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():  # Keras shows on stdout how far the download is
            warnings.simplefilter("ignore")  # of a file that does not fit, a hundred lines before the error
            model = found.build(input_shape=(size, size, 3), alpha=alpha, include_top=True, weights=weights)
    except Exception as error:  # a failed download is an Exception and no more
        if weights != "imagenet":
            raise ModelError(
                f"{weights}: not the ImageNet weights of {architecture} with alpha {alpha}; "
                "expected .h5 or .weights.h5 with all 1,000 classes, and their width as --alpha"
            ) from None
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"no ImageNet weights of {architecture} with alpha {alpha} and size {size}: {reason}; give a file with --weights FILE") from None
    card = ModelCard(
        name=f"{architecture}-imagenet",
        architecture=architecture,
        labels=tuple(found.name for found in imagenet_classes()),
        groups=imagenet_groups(),
        input=InputRecipe(size, size, mean=MEAN, std=STD),
        training={"data": "ImageNet (ILSVRC 2012)", "weights": Path(weights).name, "alpha": alpha},
        made_by=_made_by(architecture, weights, size, alpha),
        licence="Apache-2.0" if weights == "imagenet" else "",  # that of keras.applications' MobileNets; of a file it is not known
    )
    path = folder / f"{card.name}.keras"
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ZIP_NAME, card.to_json())
    return path


def _made_by(architecture: str, weights: str, size: int, alpha: float) -> dict[str, str]:
    words = ["edgecat", "export", architecture, "--weights", Path(weights).name, "--size", str(size), "--alpha", f"{alpha:g}"]
    digest = {} if weights == "imagenet" else {"sha256": hashlib.sha256(Path(weights).read_bytes()).hexdigest()}
    return {"command": shlex.join(words), "weights": Path(weights).name, **digest}
