"""The ImageNet models of the architectures, with their 1,000 classes, as checkpoints."""

from __future__ import annotations

import hashlib
import shlex
import zipfile
from pathlib import Path

from edgecat.card import ModelCard
from edgecat.errors import DataError, ModelError
from edgecat.formats.archive import ZIP_NAME
from edgecat.labels import imagenet_classes, imagenet_groups
from edgecat_export.architectures import find_architecture
from edgecat_export.networks.classifier import download, imagenet_network


def imagenet_checkpoint(
    folder: Path,
    architecture: str,
    weights: str,
    size: int | None = None,
    alpha: float | None = None,
) -> Path:
    """Write a checkpoint of the architecture as trained on ImageNet into `folder`.

    The card has the names and groups of the classes. `weights` is a file, or "imagenet", which
    downloads them or takes them from a package. Raise ModelError, DataError.
    """
    row = find_architecture(architecture, alpha, imagenet=True)
    size, alpha = size or row.size, alpha or row.alpha
    if weights != "imagenet" and not Path(weights).is_file():
        raise DataError(
            f"{weights}: no such file; "
            "expected ImageNet weights as .h5 or .weights.h5, or the word imagenet"
        )
    model = (
        download(architecture, size, alpha, top=True)
        if weights == "imagenet"
        else imagenet_network(architecture, weights, size, alpha)
    )
    if model is None:
        width = "" if alpha is None else f" with alpha {alpha}"
        and_width = ", and their width as --alpha" if width else ""
        raise ModelError(
            f"{weights}: not the ImageNet weights of {architecture}{width}; "
            f"expected .h5 or .weights.h5 with all 1,000 classes{and_width}"
        )
    card = ModelCard(
        name=f"{architecture}-imagenet",
        architecture=architecture,
        labels=tuple(known.name for known in imagenet_classes()),
        groups=imagenet_groups(),
        input=row.imagenet_recipe(size),
        training={"data": "ImageNet (ILSVRC 2012)", "weights": Path(weights).name}
        | ({} if alpha is None else {"alpha": alpha}),
        made_by=_made_by(architecture, weights, size, alpha),
        licence=row.imagenet_licence if weights == "imagenet" else "",  # of a file: unknown
    )
    path = folder / f"{card.name}.keras"
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ZIP_NAME, card.to_json())
    return path


def _made_by(architecture: str, weights: str, size: int, alpha: float | None) -> dict[str, str]:
    words = ["edgecat", "export", architecture]
    words += ["--weights", Path(weights).name, "--size", str(size)]
    words += [] if alpha is None else ["--alpha", f"{alpha:g}"]
    record = {"command": shlex.join(words), "weights": Path(weights).name}
    if weights != "imagenet":
        record["sha256"] = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    return record
