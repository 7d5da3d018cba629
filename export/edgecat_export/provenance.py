"""Where an exported file comes from, for its model card.

Base names only, so that the card does not tell where on a disk the file was made.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgecat.card import base_names
from edgecat.foreign.description import Description
from edgecat_export.checkpoint import SHIPPED
from edgecat_export.request import Request


def made_by(request: Request, origin: Mapping[str, str]) -> dict[str, str]:
    """Return the checkpoint and the command of an export, without precision and format.

    `origin` is what the checkpoint's card has already, such as the command for ImageNet weights.
    """
    record, checkpoint = dict(origin), request.checkpoint
    if not record:
        source = checkpoint.stem if checkpoint.parent == SHIPPED else checkpoint.name
        record = {
            "command": shlex.join(["edgecat", "export", source]),
            "checkpoint": checkpoint.name,
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        }
    words = [word for folder in request.data for word in ("--data", base_names(folder))]
    if request.data and request.seed != 1:
        words += ["--seed", str(request.seed)]
    if request.name is not None:
        words += ["--name", request.name]
    if request.io != "uint8":
        words += ["--io", request.io]
    if request.mixed:
        words.append("--mixed")
    if request.description is not None:
        words += _words_of(request.description)
    if words:
        record["command"] += f" {shlex.join(words)}"
    return record


def _words_of(description: Description) -> list[str]:
    """Return the options as they would be typed, a label file by its base name."""
    labels = description.labels
    words = []
    if labels:
        if isinstance(labels, (str, os.PathLike)):
            words += ["--labels", Path(labels).name]
        else:
            words += ["--labels", ",".join(labels)]
    for option, values in (("--mean", description.mean), ("--std", description.std)):
        if values is not None:
            words += [option, ",".join(f"{value:g}" for value in np.ravel(values))]
    return words
