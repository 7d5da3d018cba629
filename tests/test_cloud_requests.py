"""Requests to Cloud Vision: order, batches, sizes, the quota."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from asking_cloud import asking, distinct
from PIL import Image
from real import CHELSEA, COFFEE
from vision_server import MAX_BYTES, VisionServer, bad_key

from edgecat import CloudError

pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")

from edgecat.cloud.connection import Connection
from edgecat.cloud.request import HEAVY

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_order_batches_and_repeated_photos(service: VisionServer) -> None:
    photos = [
        *distinct(50),
        CHELSEA.read_bytes(),
        *distinct(50),
        CHELSEA.read_bytes(),
        COFFEE.read_bytes(),
    ] * 2
    with asking(service) as cloud:
        answers = [answer.label for answer in cloud.classify_many(photos)]
    assert [i for i, label in enumerate(answers) if label == "cat"] == [50, 101, 153, 204]
    assert sorted(asked.photos for asked in service.requests) == [4, 16, 16, 16]
    assert (len(service.answered), set(service.answered.values())) == (52, {1})


def test_an_error_for_good_ends_it_and_the_rest_is_kept(service: VisionServer) -> None:
    photos = distinct(180)
    with asking(service) as cloud:
        assert len(list(cloud.classify_many(photos[:60]))) == 60
        service.faults.append(bad_key("API key expired."))
        answers = cloud.classify_many(photos)
        assert len([next(answers) for _ in range(60)]) == 60  # known before
        with pytest.raises(CloudError, match="refuses the API key"):
            list(answers)
        assert 60 <= len(service.answered) < 180
        assert cloud.estimate(photos).units == 180 - len(service.answered)
        assert len(list(cloud.classify_many(photos))) == 180
    assert (len(service.answered), set(service.answered.values())) == (180, {1})


def test_heavy_photos_are_sent_small(service: VisionServer, tmp_path: Path) -> None:
    path = tmp_path / "heavy.bmp"
    Image.open(CHELSEA).resize((4000, 2700)).save(path)
    assert path.stat().st_size > 20_000_000
    with asking(service) as cloud:
        assert cloud.classify(path).label == "cat"
        assert cloud.estimate([path]).units == 0  # known by the photo, not by what was sent
    assert int(service.requests[0].headers["content-length"]) < 500_000
    assert path.stat().st_size > 20_000_000


def test_requests_stay_below_the_limit_of_the_service(service: VisionServer) -> None:
    photos = []
    for i in range(14):
        file = io.BytesIO()
        Image.effect_noise((700, 1000 + i), 100).save(file, "PNG", compress_level=1)
        photos.append(file.getvalue())
    assert 600_000 < len(photos[0]) < HEAVY
    with asking(service) as cloud:
        assert len(list(cloud.classify_many(photos))) == 14
    sizes = [int(asked.headers["content-length"]) for asked in service.requests]
    assert 8_000_000 < max(sizes) < MAX_BYTES
    assert sum(asked.photos for asked in service.requests) == 14


def test_the_limits_of_the_server_are_googles(service: VisionServer) -> None:
    """So that the two tests above say something."""
    from google.api_core.exceptions import BadRequest
    from google.cloud import vision

    with asking(service) as cloud:
        client = Connection(cloud.endpoint).client
        for count, size, message in (
            (17, 100, "Too many images per request: 17"),
            (1, 8_000_000, "payload size exceeds the limit"),
        ):
            with pytest.raises(BadRequest, match=message):
                client.batch_annotate_images(
                    requests=[
                        vision.AnnotateImageRequest(
                            image=vision.Image(content=b"x" * size),
                            features=[vision.Feature(type_=4)],
                        )
                    ]
                    * count,
                    retry=None,
                )


def test_the_quota_is_kept(service: VisionServer) -> None:
    with asking(service, photos_per_minute=60 * 100) as cloud:
        began = time.monotonic()
        list(cloud.classify_many(distinct(80)))
    assert (
        time.monotonic() - began > 0.64
    )  # the fifth request of sixteen starts after the time of four
