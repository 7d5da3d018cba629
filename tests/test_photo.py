"""photo -> pixels: every kind of picture, and the same pixels whatever form the photo comes in."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from real import CHELSEA

from edgecat import InputRecipe, PhotoError, read_pixels
from edgecat.photo import Photo, crop_box, decode, find_photos

RECIPE = InputRecipe(160, 160)
CAT = Image.open(CHELSEA).convert("RGB")
UPRIGHT = read_pixels(np.asarray(CAT), RECIPE)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_same_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read_pixels(encoded(CAT, kind, **options), RECIPE), UPRIGHT)


def test_lossy_formats_give_nearly_the_same_pixels() -> None:
    assert difference(read_pixels(encoded(CAT, "JPEG", quality=95), RECIPE), UPRIGHT) < 2
    assert difference(read_pixels(encoded(CAT, "GIF"), RECIPE), UPRIGHT) < 8


def test_gif_gives_its_first_frame() -> None:
    frames = encoded(
        CAT.quantize(64),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", CAT.size, "red").quantize(64)],
    )
    assert difference(read_pixels(frames, RECIPE), UPRIGHT) < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    back = {
        2: [0],
        3: [3],
        4: [1],
        5: [5],
        6: [2],
        7: [6],
        8: [4],
    }  # how the sensor would have stored it, as Pillow's transpositions
    stored = CAT
    for transposition in back.get(orientation, []):
        stored = stored.transpose(Image.Transpose(transposition))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_pixels(encoded(stored, "PNG", exif=exif), RECIPE), UPRIGHT)
    assert np.array_equal(np.asarray(decode(encoded(stored, "PNG", exif=exif))), np.asarray(CAT))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_passed_over() -> None:
    assert np.array_equal(
        read_pixels(encoded(CAT, "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"), RECIPE),
        UPRIGHT,
    )


def test_grey_palette_and_one_bit() -> None:
    grey = read_pixels(np.asarray(CAT.convert("L").convert("RGB")), RECIPE)
    assert np.array_equal(read_pixels(encoded(CAT.convert("L"), "PNG"), RECIPE), grey)
    palette = CAT.quantize(256)
    assert np.array_equal(
        read_pixels(encoded(palette, "PNG"), RECIPE),
        read_pixels(np.asarray(palette.convert("RGB")), RECIPE),
    )
    assert read_pixels(encoded(CAT.convert("1"), "PNG"), RECIPE).shape == (160, 160, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = CAT.convert("RGBA")
    image.paste((10, 20, 30, 0), (0, 0, CAT.width, CAT.height // 2))
    if mode == "P":
        content = encoded(image.quantize(255), "PNG")
    else:
        content = encoded(image.convert(mode), "PNG")
    pixels = read_pixels(content, RECIPE)
    assert pixels[:70].min() > 250
    assert pixels[90:].mean() < 200


def test_cmyk() -> None:
    assert (
        difference(read_pixels(encoded(CAT.convert("CMYK"), "JPEG", quality=95), RECIPE), UPRIGHT)
        < 4
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_range(kind: str) -> None:
    grey = np.asarray(CAT.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(
        read_pixels(encoded(deep, kind), RECIPE), read_pixels(np.stack([grey] * 3, axis=-1), RECIPE)
    )


def test_sixteen_bit_colour() -> None:
    rows = (np.asarray(CAT).astype(">u2") * 257).reshape(CAT.height, -1)
    raw = b"".join(b"\x00" + row.tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *CAT.size, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    assert np.array_equal(read_pixels(content, RECIPE), UPRIGHT)


def forms(path: Path) -> dict[str, Photo]:
    content = path.read_bytes()
    loaded = Image.open(io.BytesIO(content))
    loaded.load()
    return {
        "path": path,
        "string": str(path),
        "bytes": content,
        "file": io.BytesIO(content),
        "PIL, not yet decoded": Image.open(io.BytesIO(content)),
        "PIL, decoded": loaded,
        "array": np.asarray(ImageOps.exif_transpose(loaded).convert("RGB")),
    }


def test_every_form_of_a_photo_gives_the_same_pixels() -> None:
    expected = read_pixels(CHELSEA, RECIPE)
    for form, photo in forms(CHELSEA).items():
        assert np.array_equal(read_pixels(photo, RECIPE), expected), form


def test_every_form_of_a_turned_photo_gives_the_same_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    CAT.save(path, quality=90, exif=exif)
    expected = read_pixels(path, RECIPE)
    for form, photo in forms(path).items():
        assert np.array_equal(read_pixels(photo, RECIPE), expected), form


def test_a_large_jpeg_is_decoded_at_the_smallest_scale_that_suffices(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    CAT.resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90)
    assert decode(path, at_least=(160, 160)).size == (500, 375)
    assert decode(path, at_least=(400, 400)).size == (1000, 750)
    assert decode(path).size == (4000, 3000)
    content = path.read_bytes()
    expected = read_pixels(path, RECIPE)
    for photo in (content, io.BytesIO(content), Image.open(io.BytesIO(content))):
        assert np.array_equal(read_pixels(photo, RECIPE), expected)
    assert difference(read_pixels(np.asarray(decode(path)), RECIPE), expected) < 1.5


def test_with_less_detail_a_jpeg_may_be_decoded_a_little_smaller_than_it_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "photo.jpg"
    CAT.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    whole, quicker = InputRecipe(224, 224), InputRecipe(224, 224, detail=0.8)
    assert (
        whole.least,
        quicker.least,
        InputRecipe(200, 100, "crop", crop=0.5, detail=0.9).least,
    ) == ((224, 224), (180, 180), (180, 360))
    assert decode(path, at_least=whole.least).size == (500, 375)
    assert decode(path, at_least=quicker.least).size == (250, 188)
    assert 0 < difference(read_pixels(path, quicker), read_pixels(path, whole)) < 3
    pixels = np.asarray(decode(path))
    assert np.array_equal(
        read_pixels(pixels, quicker), read_pixels(pixels, whole)
    )  # only a JPEG has scales


def test_the_callers_image_stays_as_it_is() -> None:
    with Image.open(CHELSEA) as image:
        read_pixels(image, RECIPE)
        assert image.size == CAT.size
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(CAT))
    with CHELSEA.open("rb") as file:
        read_pixels(file, RECIPE)
        assert not file.closed


def test_pixels_are_the_size_of_the_recipe() -> None:
    assert read_pixels(CHELSEA, InputRecipe(96, 128)).shape == (96, 128, 3)
    assert read_pixels(CHELSEA, InputRecipe(96, 128)).dtype == np.uint8


def test_resizing_is_antialiased_bilinear_of_the_whole_photo() -> None:
    assert np.array_equal(
        UPRIGHT, np.asarray(CAT.resize((160, 160), Image.Resampling.BILINEAR, reducing_gap=3.0))
    )
    assert difference(UPRIGHT, np.asarray(CAT.resize((160, 160), Image.Resampling.BILINEAR))) < 0.5


@pytest.mark.parametrize("share", [1.0, 0.875, 0.5])
@pytest.mark.parametrize("size", [(400, 300), (300, 400), (301, 500), (224, 224)])
def test_a_crop_is_the_middle_of_the_scaled_photo(share: float, size: tuple[int, int]) -> None:
    photo = CAT.resize(size)
    recipe = InputRecipe(112, 112, "crop", crop=share)
    shorter = int(112 / share)
    width, height = (
        (shorter, int(shorter * size[1] / size[0]))
        if size[0] <= size[1]
        else (int(shorter * size[0] / size[1]), shorter)
    )
    left, top = round((width - 112) / 2), round((height - 112) / 2)
    expected = np.asarray(
        photo.resize((width, height), Image.Resampling.BILINEAR).crop(
            (left, top, left + 112, top + 112)
        )
    )
    assert difference(read_pixels(photo, recipe), expected) < 0.6
    assert difference(
        read_pixels(photo, recipe), read_pixels(photo, InputRecipe(112, 112))
    ) > 3 or (share, *size) == (1, 224, 224)


def test_a_crop_never_leaves_the_photo() -> None:
    for size in (
        (3998, 1001),
        (451, 300),
        (8, 3000),
        (1001, 8),
    ):  # of the first, 299 times 1001 / 299 is more than 1001
        for recipe in (InputRecipe(299, 299, "crop"), InputRecipe(160, 224, "crop", crop=0.9)):
            left, top, right, bottom = crop_box(size, recipe)
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
    assert read_pixels(
        np.zeros((1001, 3998, 3), np.uint8), InputRecipe(299, 299, "crop")
    ).shape == (299, 299, 3)


def test_a_crop_of_another_shape_than_the_photo() -> None:
    ramp = np.broadcast_to(
        np.arange(240, dtype=np.uint8)[:, np.newaxis, np.newaxis], (240, 120, 3)
    )  # each row its number
    wide = read_pixels(np.ascontiguousarray(ramp), InputRecipe(40, 120, "crop"))
    assert np.array_equal(wide, ramp[100:140])
    assert read_pixels(np.ascontiguousarray(ramp), InputRecipe(120, 40, "crop"))[
        [0, -1], 0, 0
    ] == pytest.approx([0.5, 238.5], abs=1)


def test_a_crop_decodes_a_jpeg_with_enough_pixels(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    CAT.resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90)
    whole = np.asarray(decode(path))
    for share in (
        1.0,
        0.875,
        0.4,
    ):  # at 0.4 the shorter side is scaled to 500, more than 1/8 of 3000
        recipe = InputRecipe(200, 200, "crop", crop=share)
        assert min(decode(path, at_least=recipe.scaled).size) >= 200 / share
        assert difference(read_pixels(path, recipe), read_pixels(whole, recipe)) < 1.5


def test_a_ready_array_is_cropped_as_its_photo_is() -> None:
    photo = CAT.resize((112, 112))
    recipe = InputRecipe(112, 112, "crop", crop=0.5)
    assert np.array_equal(read_pixels(np.asarray(photo), recipe), read_pixels(photo, recipe))
    assert difference(read_pixels(photo, recipe), np.asarray(photo)) > 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": "pad"},
        {"crop": 0.9},
        {"detail": 0.05},
        {"detail": 1.1},
        {"resize": "crop", "crop": 2.0},
        {"std": 0.0},
        {"mean": (1, 2)},
        {"std": (1, 2, float("nan"))},
    ],
)
def test_a_recipe_that_makes_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        InputRecipe(160, 160, **wrong)  # type: ignore[arg-type]


def hostile(tmp_path: Path) -> dict[str, tuple[Photo, str]]:
    content = CHELSEA.read_bytes()
    (tmp_path / "text.jpg").write_text("I am not a photo")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "head.jpg").write_bytes(content[:20])
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    bomb = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", bomb), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    (tmp_path / "bomb.png").write_bytes(png)
    return {
        "missing": (tmp_path / "none.jpg", "none.jpg: no such file"),
        "folder": (tmp_path, "a folder, expected a photo"),
        "empty": (tmp_path / "empty.jpg", "empty.jpg: empty file, expected a photo"),
        "empty bytes": (b"", "bytes: empty, expected an encoded photo"),
        "text": (
            tmp_path / "text.jpg",
            "text.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)",
        ),
        "cut short": (tmp_path / "cut.jpg", "cut.jpg: broken photo (image file is truncated"),
        "header alone": (tmp_path / "head.jpg", "head.jpg: "),
        "one pixel": (tmp_path / "dot.png", "dot.png: 1 x 1 pixels, expected at least 8 x 8"),
        "bomb": (
            tmp_path / "bomb.png",
            "bomb.png: more than 179 megapixels, refused as a decompression bomb",
        ),
        "float array": (
            np.zeros((9, 9, 3), np.float32),
            "array: shape (9, 9, 3) of float32, expected (height, width, 3) of uint8, RGB",
        ),
        "grey array": (np.zeros((9, 9), np.uint8), "array: shape (9, 9) of uint8"),
        "tiny array": (np.zeros((1, 9, 3), np.uint8), "array: 9 x 1 pixels"),
        "text file": (io.StringIO("x"), "file: opened as text"),  # type: ignore[dict-item]
        "number": (7, "int: not a photo"),  # type: ignore[dict-item]
        "null byte": ("a\0b", "cannot be read"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing",
        "folder",
        "empty",
        "empty bytes",
        "text",
        "cut short",
        "header alone",
        "one pixel",
        "bomb",
        "float array",
        "grey array",
        "tiny array",
        "text file",
        "number",
        "null byte",
    ],
)
def test_what_is_no_photo_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    photo, message = hostile(tmp_path)[case]
    with pytest.raises(PhotoError) as caught:
        read_pixels(photo, RECIPE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_photos(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt", "inner/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_photos(tmp_path)] == ["a.png", "b.JPG"]
    assert [path.name for path in find_photos(tmp_path, recursive=True)] == [
        "a.png",
        "b.JPG",
        "c.webp",
    ]
