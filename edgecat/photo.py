"""photo -> pixels: decode, turn upright, resize to what the model wants.

Training, calibration, verification, evaluation and the device all call `read_pixels`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from edgecat.card import InputRecipe
from edgecat.errors import PhotoError

if TYPE_CHECKING:  # each takes as long to import as half of edgecat
    from pathlib import Path

    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.uint8]"  # (height, width, 3) RGB, upright
Photo: TypeAlias = (
    "str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Pixels | EncodedPhoto | OpenedPhoto"
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MIN_SIDE = 8  # pixels; a tracking pixel or an icon's bullet shows no animal
MAX_PIXELS = 179_000_000  # Pillow's own limit against decompression bombs
BACKGROUND = (255, 255, 255)  # what shows through transparent parts

_TURN = {  # EXIF orientation -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class EncodedPhoto(NamedTuple):
    """The bytes of a photo file, and its name in messages."""

    name: str
    content: bytes


class OpenedPhoto:
    """An opened photo; only its header has been read. Single use."""

    def __init__(self, name: str, image: Image.Image) -> None:
        self.name = name
        self.image = image
        self.pixels = image.width * image.height  # as it is stored


def read_pixels(photo: Photo, recipe: InputRecipe) -> Pixels:
    """Return the pixels of `photo` as `recipe` prepares them. Raise PhotoError."""
    size = (recipe.width, recipe.height)
    if isinstance(photo, np.ndarray) and recipe.crop == 1 and photo.shape[1::-1] == size:
        return _checked(photo)  # ready: an image would copy it twice
    image = decode(photo, at_least=recipe.least)
    return resize(image, size, crop_box(image.size, recipe) if recipe.resize == "crop" else None)


def decode(photo: Photo, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Return `photo` as an upright RGB image. Raise PhotoError.

    With `at_least` (width, height), a JPEG is decoded at the smallest of the scales 1/8, 1/4, 1/2
    and 1 that has at least that many pixels. On a 12-megapixel photo this is an eighth of the work.
    """
    if isinstance(photo, np.ndarray):
        return Image.fromarray(_checked(photo))
    if isinstance(photo, Image.Image) and not _unread(photo):
        return _to_upright_rgb(photo)  # already decoded by the caller
    if isinstance(photo, OpenedPhoto):
        return _decode_opened(photo, at_least)
    with open_photo(photo) as opened:
        return _decode_opened(opened, at_least)


@contextmanager
def open_photo(photo: Photo, most: int = MAX_PIXELS) -> Iterator[OpenedPhoto]:
    """Open an encoded photo of at most `most` pixels; only its header is read. Raise PhotoError."""
    name, source = _open(photo)
    with _naming(name, most), Image.open(source, formats=FORMATS) as image:
        opened = OpenedPhoto(name, image)
        if opened.pixels > most:
            raise Image.DecompressionBombError
        yield opened


def read_encoded(photo: Photo) -> EncodedPhoto:
    """Return the encoded bytes of `photo`; images and arrays become a PNG. Raise PhotoError.

    Only the header is checked.
    """
    if isinstance(photo, np.ndarray) or (isinstance(photo, Image.Image) and not _unread(photo)):
        file = io.BytesIO()
        decode(photo).save(file, "PNG", compress_level=1)
        return EncodedPhoto("image", file.getvalue())
    name, source = _open(photo)
    with _naming(name):
        if isinstance(source, str):
            with open(source, "rb") as stored:
                content = stored.read()
        else:
            content = source.read()
        Image.open(io.BytesIO(content), formats=FORMATS).close()
    return EncodedPhoto(name, content)


def read_stream(photo: Photo) -> Photo:
    """Return the rest of an open file; other photos unchanged. Raise PhotoError."""
    read = getattr(photo, "read", None)
    if read is None or isinstance(photo, os.PathLike):
        return photo
    content = read()
    if not isinstance(content, bytes):
        raise PhotoError("file: opened as text, expected a file opened with mode 'rb'")
    name = str(getattr(photo, "name", "file"))
    if not content:
        raise PhotoError(f"{name}: empty, expected an encoded photo")
    return EncodedPhoto(name, content)


def photo_name(photo: Photo) -> str | None:
    """Return the path or file name of `photo`; None for bytes, images in memory and arrays."""
    if isinstance(photo, str):
        return photo
    if isinstance(photo, (EncodedPhoto, OpenedPhoto)):
        return photo.name
    if isinstance(photo, os.PathLike):
        return os.fsdecode(photo)
    return getattr(photo, "filename", None) or None


@contextmanager
def _naming(name: str, most: int = MAX_PIXELS) -> Iterator[None]:
    """Turn what Pillow raises on broken files into PhotoError."""
    try:
        yield
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name}: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PhotoError(
            f"{name}: more than {most // 1_000_000} megapixels, "
            "refused as a decompression bomb; scale it down first"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoError(
            f"{name}: broken photo ({error}); open it elsewhere and save it again"
        ) from error


def resize(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Pixels:
    """Squash `image`, or its `box` (left, top, right, bottom), to `size` (width, height)."""
    if image.size != size or box not in (None, (0, 0, *size)):
        image = image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=3.0)
    return np.asarray(image)


def crop_box(photo: tuple[int, int], recipe: InputRecipe) -> tuple[float, float, float, float]:
    """Return the (left, top, right, bottom) that "crop" keeps of a photo of (width, height).

    Round where torchvision's Resize and CenterCrop round, so that pixels are as in training.
    """
    (width, height), (least_width, least_height) = photo, recipe.scaled
    if least_width * height >= least_height * width:
        scaled = (least_width, int(least_width * height / width))
    else:
        scaled = (int(least_height * width / height), least_height)
    left, top = round((scaled[0] - recipe.width) / 2), round((scaled[1] - recipe.height) / 2)
    across, down = width / scaled[0], height / scaled[1]
    # Products of fractions may come out a little beyond the photo's edge, which Pillow refuses.
    return (
        left * across,
        top * down,
        min((left + recipe.width) * across, width),
        min((top + recipe.height) * down, height),
    )


def find_photos(folder: Path, recursive: bool = False) -> list[Path]:
    """Return the photos of `folder` by suffix, sorted; hidden files are left out."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _unread(image: Image.Image) -> bool:
    """Whether an image was opened but not decoded, so that its file can be read again."""
    return (
        bool(getattr(image, "tile", None))
        and getattr(image, "fp", None) is not None
        and image.format in FORMATS
    )


def _open(photo: Any) -> tuple[str, IO[bytes] | str]:
    """Return a name for messages, and a source for Image.open that leaves the caller's alone."""
    if isinstance(photo, Image.Image):  # undecoded: its file is read again
        file: Any = photo.fp  # type: ignore[attr-defined]
        position = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(position)
        return str(getattr(photo, "filename", "") or "image"), io.BytesIO(content)
    photo = read_stream(photo)
    if isinstance(photo, EncodedPhoto):
        return photo.name, io.BytesIO(photo.content)
    if isinstance(photo, (bytes, bytearray, memoryview)):
        if not len(photo):
            raise PhotoError("bytes: empty, expected an encoded photo")
        return "bytes", io.BytesIO(photo)
    if isinstance(photo, (str, os.PathLike)):
        path = os.fsdecode(photo) or os.curdir
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise PhotoError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise PhotoError(
                f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
            ) from None
        if stat.S_ISDIR(found.st_mode):
            raise PhotoError(f"{path}: a folder, expected a photo")
        if stat.S_ISREG(found.st_mode) and not found.st_size:
            raise PhotoError(f"{path}: empty file, expected a photo")
        return path, path
    raise PhotoError(
        f"{type(photo).__name__}: not a photo (expected a path, bytes, a binary file, "
        "a PIL image or a (height, width, 3) uint8 array)"
    )


def _decode_opened(photo: OpenedPhoto, at_least: tuple[int, int] | None) -> Image.Image:
    name, image = photo.name, photo.image
    _check_size(name, *image.size)
    if at_least is not None and image.format == "JPEG":
        # Turning the photo upright may swap rows and columns: ask for enough of both.
        image.draft(None, (max(at_least), max(at_least)))
    image.load()
    return _to_upright_rgb(image)


def _to_upright_rgb(image: Image.Image) -> Image.Image:
    _check_size("image", *image.size)
    turn = _TURN.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    if upright.mode == "RGB":
        return upright
    if upright.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
        grey = np.rint(np.asarray(upright, dtype=np.float32) / 257)
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        canvas = Image.new("RGBA", upright.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, upright).convert("RGB")
    return upright.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 if there is none or the EXIF data are broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, struct.error):
        return 1


def _checked(pixels: npt.NDArray[Any]) -> Pixels:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise PhotoError(
            f"array: shape {pixels.shape} of {pixels.dtype}, "
            "expected (height, width, 3) of uint8, RGB"
        )
    _check_size("array", pixels.shape[1], pixels.shape[0])
    return pixels if pixels.flags.c_contiguous else np.ascontiguousarray(pixels)


def _check_size(name: str, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"{name}: {width} x {height} pixels, expected at least {MIN_SIDE} x {MIN_SIDE}"
        )
