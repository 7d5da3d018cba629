"""Checkpoints: .keras files that carry their model card, calibration statistics included.

Those that come with the project lie in checkpoints/, one for each architecture.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecat.card import ModelCard
from edgecat.errors import ModelError
from edgecat.formats import read_card
from edgecat.formats.archive import ZIP_NAME
from edgecat_export.architectures import ARCHITECTURES, unknown_architecture

if TYPE_CHECKING:
    import keras

SHIPPED = Path(__file__).parent / "checkpoints"


def find_checkpoint(name: str) -> Path:
    """Return the path of a checkpoint. Raise ModelError.

    `name` is a path, or the name of an architecture whose checkpoint comes with edgecat.
    """
    path = Path(name)
    if path.suffix or "/" in name:
        check(path)
        return path
    shipped = SHIPPED / f"{name}.keras"
    if not shipped.exists():
        if name in ARCHITECTURES:
            raise ModelError(
                f"{name}: the package has no checkpoint of it; "
                f"train one with 'edgecat train {name}', and give its model.keras"
            )
        raise unknown_architecture(name)
    return shipped


def check(path: Path) -> None:
    """Raise ModelError if `path` is no whole .keras file, or contains code.

    The code is never run.
    """
    expected = "expected a .keras that 'edgecat train' or model.save('NAME.keras') wrote"
    if not path.exists():
        raise ModelError(f"{path}: no such model file; {expected}")
    if path.suffix != ".keras":
        raise ModelError(f"{path}: no Keras file; {expected}")
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            config = json.loads(archive.read("config.json"))
            archive.getinfo("model.weights.h5")
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); expected a .keras file"
        ) from None
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        zlib.error,
        NotImplementedError,
        RuntimeError,
    ):
        with path.open("rb") as file:
            cut = file.read(4) == b"PK\x03\x04"
        problem = "damaged or cut short; copy it or train again" if cut else "no Keras file"
        raise ModelError(f"{path}: {problem}" + ("" if cut else f"; {expected}")) from None
    except (KeyError, ValueError):
        raise ModelError(f"{path}: a zip, but no Keras file; {expected}") from None
    if broken:
        raise ModelError(
            f"{path}: damaged, {broken} in it is not what was written; copy it or train again"
        )
    for layer, code in _custom_code(config):
        raise ModelError(
            f"{path}: layer '{layer}' is code of its own ({code}), which edgecat never runs; "
            "build the model from Keras's own layers only"
        )


def _custom_code(config: Any, layer: str = "model") -> Iterator[tuple[str, str]]:
    """Yield (layer, kind) of each part that is not Keras's own.

    The configuration of compile() is skipped, because loading a model skips it, too.
    """
    if isinstance(config, list):
        for item in config:
            yield from _custom_code(item, layer)
    elif isinstance(config, dict):
        kind, own = config.get("class_name"), config.get("config")
        if isinstance(own, dict):
            layer = str(own.get("name", layer))
        module, registered = (
            str(config.get("module") or "keras"),
            str(config.get("registered_name") or ""),
        )
        if kind in ("Lambda", "__lambda__"):
            yield layer, "a Lambda"
        elif kind is not None and (
            module.split(".", maxsplit=1)[0] not in ("keras", "builtins") or ">" in registered
        ):
            yield layer, str(kind if kind != "function" else own)
        for key, item in config.items():
            if key not in ("compile_config", "build_config"):
                yield from _custom_code(item, layer)


def has_card(path: Path) -> bool:
    """Whether a .keras file carries a model card; files that Keras alone wrote do not."""
    with zipfile.ZipFile(path) as archive:
        return ZIP_NAME in archive.namelist()


def load_model(path: Path) -> keras.Model:
    """Return the Keras model. Raise ModelError, also for a file that contains code."""
    import keras

    check(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds on what it does not know
        if isinstance(error, OSError) and error.errno:  # such as a full disk: no fault of the file
            raise
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{path}: Keras {keras.version()} cannot load this file ({reason[:200]}); "
            "save it again with this version"
        ) from None


def load(path: Path) -> tuple[keras.Model, ModelCard]:
    """Return the model and the card of a checkpoint. Raise ModelError."""
    model, card = load_model(path), read_card(path)
    if model.output_shape[-1] != len(card.labels):
        raise ModelError(
            f"{path}: {model.output_shape[-1]} outputs, but {len(card.labels)} labels in its card; "
            "train it again"
        )
    return model, card


def save(model: keras.Model, card: ModelCard, path: Path, half: bool = True) -> None:
    """Write a checkpoint whole or not at all.

    With `half`, weights are stored as float16: half the size. Keras loads them as float32.
    """
    temporary = path.with_name(f".part.{path.stem}.keras")
    model.save(temporary, include_optimizer=False)
    with zipfile.ZipFile(temporary) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if half:
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
                values = item[()].astype("float16") if item.dtype == "float32" else item[()]
                written = target.create_dataset(name, data=values)
            else:
                written = target.require_group(name)
            written.attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    return packed.getvalue()
