"""Answers that were paid for, kept on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgecat.cloud.answers import Labels, are_labels
from edgecat.errors import CloudError
from edgecat.files import cache_folder


class AnswerCache:
    """Labels by the photo's sha256, in a folder of their own for each kind of request.

    Raise CloudError if the folder cannot be made.
    """

    def __init__(self, *folders: str) -> None:
        try:
            self._folder = cache_folder().joinpath("cloud-vision", *folders)
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_kept(error.filename, error) from None

    def get(self, digest: str) -> Labels | None:
        """Return the labels of a photo; None if there are none, or if they cannot be read."""
        try:
            labels = json.loads((self._folder / f"{digest}.json").read_bytes())["labelAnnotations"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return labels if are_labels(labels) else None

    def keep(self, digest: str, labels: Labels) -> None:
        """Write the labels of a photo. Raise CloudError if that fails."""
        path = self._folder / f"{digest}.json"
        part = path.with_name(f".{digest}.{os.getpid()}.part")
        record = json.dumps({"labelAnnotations": labels}, ensure_ascii=False)
        try:
            part.write_text(record, encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _not_kept(self._folder, error) from None


def _not_kept(folder: Path | str, error: OSError) -> CloudError:
    return CloudError(
        f"{folder}: answers that are paid for cannot be kept here ({error.strerror}); "
        "set XDG_CACHE_HOME to a folder that can be written"
    )
