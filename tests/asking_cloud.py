"""What the tests of Cloud Vision share."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from vision_server import KEY, VisionServer

pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")

from edgecat.cloud.vision import CloudVision, Patience

QUICK = Patience(first_pause=0.01, longest_pause=0.05, total=30, request=60)


def isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, and a cache of the test's own."""
    for name in (
        "GOOGLE_API_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "EDGECAT_CLOUD_VISION_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "XDG_CACHE_HOME": tmp_path / "cache",
        "HOME": tmp_path,
        "CLOUDSDK_CONFIG": tmp_path / "gcloud",
        "NO_GCE_CHECK": "true",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextlib.contextmanager
def asking(
    server: VisionServer, patience: Patience = QUICK, key: str = KEY, **options: float
) -> Iterator[CloudVision]:
    os.environ["GOOGLE_API_KEY"] = key  # which the fixture above takes away again
    with CloudVision(
        endpoint=server.address,
        patience=patience,
        photos_per_minute=options.get("photos_per_minute", 1e6),
    ) as cloud:
        yield cloud


def distinct(count: int) -> list[bytes]:
    """Small photos, each other than the rest."""
    photos = []
    for i in range(count):
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (i % 256, i // 256, 128)).save(file, "PNG")
        photos.append(file.getvalue())
    return photos


def album(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i, photo in enumerate(distinct(count)):
        (folder / f"{i:04}.png").write_bytes(photo)
    return folder
