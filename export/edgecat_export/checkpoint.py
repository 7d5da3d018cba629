"""Checkpoints: .keras files that carry their model card, calibration statistics included.

Those that come with the project lie in checkpoints/, one for each architecture, as `edgecat train` left them.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgecat.errors import ModelError
from edgecat.model_file import ZIP_NAME, ModelCard, model_format, read_card

if TYPE_CHECKING:
    import keras

SHIPPED = Path(__file__).parent / "checkpoints"


def find_checkpoint(name: str) -> Path:
    """The file of a checkpoint: a path to a .keras file, or the name of an architecture that one comes along for. Raises ModelError."""
    if name.endswith(".keras") or "/" in name:
        path = Path(name)
        if model_format(path) != "keras":
            raise ModelError(f"{path}: not a Keras checkpoint; expected a .keras file that 'edgecat train' has written")
        return path
    shipped = SHIPPED / f"{name}.keras"
    if not shipped.exists():
        from edgecat_export.names import unknown_architecture

        raise unknown_architecture(name, [path.stem for path in sorted(SHIPPED.glob("*.keras"))])
    return shipped


def load(path: Path) -> tuple[keras.Model, ModelCard]:
    """Raises ModelError; a checkpoint with code in it is refused, never run."""
    import keras

    card = read_card(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True), card
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ModelError(f"{path}: Keras cannot load this checkpoint ({str(error).strip().splitlines()[0]})") from None


def save(model: keras.Model, card: ModelCard, path: Path) -> None:
    """Write whole or not at all; weights as float16, half the size, which Keras turns back into float32 when it loads them."""
    temporary = path.with_name(f".part.{path.stem}.keras")
    model.save(temporary, include_optimizer=False)
    with zipfile.ZipFile(temporary) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["model.weights.h5"] = _as_float16(members["model.weights.h5"])
    members[ZIP_NAME] = card.to_json().encode()
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    os.replace(temporary, path)


def _as_float16(weights: bytes) -> bytes:
    import h5py

    packed = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(packed, "w") as target:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                written = target.create_dataset(name, data=item[()].astype("float16") if item.dtype == "float32" else item[()])
            else:
                written = target.require_group(name)
            written.attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    return packed.getvalue()
