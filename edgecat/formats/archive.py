"""The zip at the end of a .tflite, and the zip that a .keras is."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from typing import IO

ZIP_NAME = "edgecat.json"  # the member that holds the card
_MAX_UNPACKED = 256_000_000  # bytes; a zip that unpacks to more is an attack
_BROKEN = (  # what a broken zip raises
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    IndexError,
    RuntimeError,
)


def unzip(file: IO[bytes], only: str | None = None) -> tuple[int, dict[str, bytes]]:
    """Return where the zip begins, and its members, or only the member `only`.

    Without a zip, or if it is broken, return the length of the file and nothing.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            wanted = [member for member in members if only in (None, member.filename)]
            if sum(member.file_size for member in wanted) > _MAX_UNPACKED:
                raise zipfile.BadZipFile
            start = min(member.header_offset for member in members)
            return start, {member.filename: archive.read(member) for member in wanted}
    except _BROKEN:
        return file.seek(0, io.SEEK_END), {}


def zipped(files: dict[str, bytes]) -> bytes:
    """Return an uncompressed zip. The same files give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # stored: the card is read at every start
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # ZipInfo has a fixed date
    return content.getvalue()


def find_card(file: IO[bytes]) -> tuple[int, bytes | None]:
    """Return where the zip begins, and the card in it as JSON, or None."""
    start, files = unzip(file, only=ZIP_NAME)
    return start, files.get(ZIP_NAME)
