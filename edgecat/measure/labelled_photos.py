"""Find photos whose class is known: by their folder, by LABEL=FOLDER, or by ImageNet's names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgecat.errors import DataError
from edgecat.labels import imagenet_name, label_of_folder
from edgecat.photo import find_photos


class LabelledPhoto(NamedTuple):
    path: Path
    label: str
    origin: str = ""  # where the photo comes from, such as the folder that was named


def find_labelled_photos(folders: Sequence[str]) -> Iterator[LabelledPhoto]:
    """Yield the photos of all `folders`, with their labels. Raise DataError.

    Each is a folder of class folders, or LABEL=FOLDER for one class. A folder of photos only is
    enough if all names begin with ImageNet's numbers, such as n02123045_tabby.JPEG.
    """
    origins = _names_of_origins(folders)
    for given in folders:
        loose = loose_photos(given)
        origin = origins[given]
        named = [
            LabelledPhoto(path, label, origin)
            for path in loose
            if (label := imagenet_name(path.name))
        ]
        if named and len(named) == len(loose):
            yield from named
            continue
        for label, folder in _class_folders(given):
            photos = find_photos(folder, recursive=True)
            if not photos:
                raise DataError(
                    f"{folder}: no photos of class '{label}'; add some or remove the folder"
                )
            yield from (LabelledPhoto(path, label, origin) for path in photos)


def _names_of_origins(folders: Sequence[str]) -> dict[str, str]:
    """Return the shortest end of each folder's path that tells it from the others.

    Of LABEL=FOLDER, at least the last two names: `neither=data/neither/test` -> `neither/test`.
    """
    paths = {given: _path_of(given).absolute().parts[1:] for given in folders}
    names = {}
    for given, parts in paths.items():
        length = 1 if Path(given).exists() else 2
        while length < len(parts) and any(
            other[-length:] == parts[-length:] for other in paths.values() if other != parts
        ):
            length += 1
        names[given] = "/".join(parts[-length:])
    return names


def _path_of(given: str) -> Path:
    """Return the folder of `given`, which is FOLDER or LABEL=FOLDER."""
    _, equals, folder = given.partition("=")
    return Path(folder) if equals and not Path(given).exists() else Path(given)


def loose_photos(given: str) -> list[Path]:
    """Return the photos of a folder without class folders.

    Return none if it has class folders, or for LABEL=FOLDER.
    """
    path = Path(given)
    return find_photos(path) if path.is_dir() and not _folders_in(path) else []


def _class_folders(given: str) -> list[tuple[str, Path]]:
    label, equals, folder = given.partition("=")
    if equals and not Path(given).exists():
        return [(label, _folder(folder))]
    path = _folder(given)
    classes = _folders_in(path)
    if not classes:
        raise DataError(
            f"{path}: no class folders; expected one folder of photos for each class, "
            "such as cats/ and dogs/, or LABEL=FOLDER"
        )
    return [(label_of_folder(child.name), child) for child in classes]


def _folders_in(path: Path) -> list[Path]:
    return sorted(
        child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")
    )


def _folder(name: str) -> Path:
    path = Path(name)
    if not path.is_dir():
        problem = "not a folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {problem}; expected a folder of photos")
    return path
