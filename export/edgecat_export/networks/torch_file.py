"""The weight files of PyTorch, opened without PyTorch."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import is_zipfile

import numpy as np
import numpy.typing as npt

from edgecat.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before PyTorch 1.6
_DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}
_UNREADABLE = (  # what opening, unpickling and building arrays may raise for a file of another form
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
    pickle.PickleError,
)


class _View(NamedTuple):
    """A tensor whose storage has not been loaded."""

    storage: str  # key
    offset: int  # elements
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements


def read_state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return name -> array, in the file's order. Raise ModelError.

    Of the pickled code in such a file, only what rebuilds plain tensors is run.
    """
    try:
        if is_zipfile(path):
            option = "_use_new_zipfile_serialization=False"
            raise ValueError(f"written by PyTorch 1.6 or later; save it with {option}")
        with path.open("rb") as file:
            if _Reader(file).load() != _MAGIC:
                raise ValueError("not written by torch.save before PyTorch 1.6")
            _Reader(file).load()  # version of the protocol
            _Reader(file).load()  # byte order and sizes of the machine: little-endian everywhere
            reader = _Reader(file)
            views = reader.load()
            storages = dict(_storages(file, reader.dtypes))
            return {
                name: _array(storages[view.storage], view)
                for name, view in views.items()
                if isinstance(view, _View)
            }
    except _UNREADABLE as error:
        raise ModelError(f"{path}: no PyTorch weights that can be read ({error})") from None


class _Reader(pickle.Unpickler):
    """Reads views instead of tensors, and refuses every class but the few that they need."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.dtypes: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(
                storage, offset, shape, strides
            )
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} in it is refused")

    def persistent_load(self, record: Any) -> str:
        _, kind, key, *_ = record
        self.dtypes[key] = _DTYPES[kind]
        return str(key)


def _storages(file: IO[bytes], dtypes: dict[str, Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for key in _Reader(file).load():
        size = int.from_bytes(file.read(8), "little")
        kind = np.dtype(dtypes[key])
        yield key, np.frombuffer(file.read(size * kind.itemsize), kind)


def _array(storage: npt.NDArray[Any], view: _View) -> npt.NDArray[Any]:
    extents = (stride * (side - 1) for stride, side in zip(view.strides, view.shape, strict=True))
    if view.offset + sum(extents) >= storage.size or min((view.offset, *view.strides)) < 0:
        raise ValueError("a tensor beyond its storage")
    strides = [stride * storage.itemsize for stride in view.strides]
    array: npt.NDArray[Any] = np.lib.stride_tricks.as_strided(
        storage[view.offset :], view.shape, strides
    ).copy()
    return array
