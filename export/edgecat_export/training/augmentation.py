"""Random variants of training photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from edgecat.card import InputRecipe
from edgecat.photo import Pixels, decode, resize

IN_SCENE = 0.2  # share of the photos that are pasted into a scene, where there are scenes


def augment(
    photo: Path,
    recipe: InputRecipe,
    rng: np.random.Generator,
    strength: float = 1.0,
    scenes: Sequence[Path] = (),
) -> Pixels:
    """Return the pixels of a random variant of `photo`; with `strength` 0, at most mirrored.

    Shape, sharpness and compression vary at random in every class. Otherwise the network would
    learn them: the photos of some training sets were squashed, scaled down and compressed twice.
    Some photos are pasted, small, into one of `scenes`, like an animal far away.
    """
    image = decode(photo, at_least=(2 * recipe.width, 2 * recipe.height))

    def happens(share: float) -> bool:
        return bool(rng.random() < share * strength)

    # Crop: half of the area to all of it (most often much), aspect ratio changed by up to 1.5.
    area = image.width * image.height * (1 - 0.5 * strength * rng.random() ** 2)
    ratio = image.width / image.height * np.exp(strength * rng.uniform(-0.4, 0.4))
    width = min(image.width, round(float((area * ratio) ** 0.5)))
    height = min(image.height, round(float((area / ratio) ** 0.5)))
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    image = image.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if happens(0.25):
        angle = float(rng.uniform(-15, 15))
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=_mean_colour(image))
    if scenes and happens(IN_SCENE):
        scene = decode(
            scenes[int(rng.integers(len(scenes)))], (2 * recipe.width, 2 * recipe.height)
        )
        image = _pasted_into(scene, image, rng)
    elif happens(0.15):  # smaller in the picture
        size = [round(side * rng.uniform(1.1, 1.7)) for side in image.size]
        canvas = Image.new("RGB", (size[0], size[1]), _mean_colour(image))
        canvas.paste(image, _random_place(image, canvas, rng))
        image = canvas
    if happens(0.6):  # sharpness: fewer pixels than the model wants, blurred, or sharpened
        kind = rng.random()
        if kind < 0.42:
            side = int(rng.integers(80, 176))
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        elif kind < 0.58:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.6))))
        else:
            image = image.filter(
                ImageFilter.UnsharpMask(float(rng.uniform(0.8, 2.0)), int(rng.integers(40, 180)), 0)
            )
    if happens(0.3):
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=int(rng.integers(30, 95)))
        image = Image.open(encoded)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if happens(0.6):
            image = change(image).enhance(float(rng.uniform(0.7, 1.35)))
    if happens(0.05):
        image = image.convert("L").convert("RGB")
    return resize(image, (recipe.width, recipe.height))


def _pasted_into(scene: Image.Image, image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return `scene` with `image` in it: 4 to 36 % of its area, its edges blended in.

    The network would learn a sharp edge, or a shape that is always the same.
    """
    if rng.random() < 0.5:
        scene = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    share = float(rng.uniform(0.2, 0.6))  # of the scene's width and height
    scale = share * (scene.width * scene.height / (image.width * image.height)) ** 0.5
    width = max(8, min(scene.width, round(image.width * scale)))
    height = max(8, min(scene.height, round(image.height * scale)))
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    feather = float(rng.uniform(0.02, 0.12)) * min(width, height)
    inner = (feather, feather, width - 1 - feather, height - 1 - feather)
    mask = Image.new("L", (width, height))
    if rng.random() < 0.5:
        ImageDraw.Draw(mask).ellipse(inner, fill=255)
    else:
        ImageDraw.Draw(mask).rectangle(inner, fill=255)
    pasted = scene.copy()
    pasted.paste(
        small, _random_place(small, scene, rng), mask.filter(ImageFilter.GaussianBlur(feather / 2))
    )
    return pasted


def _random_place(
    image: Image.Image, canvas: Image.Image, rng: np.random.Generator
) -> tuple[int, int]:
    """Return (left, top) of `image` somewhere in the larger `canvas`."""
    left = int(rng.integers(0, canvas.width - image.width + 1))
    return left, int(rng.integers(0, canvas.height - image.height + 1))


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    average = image.resize((1, 1), Image.Resampling.BOX)
    red, green, blue = average.getpixel((0, 0))  # type: ignore[misc]
    return int(red), int(green), int(blue)
