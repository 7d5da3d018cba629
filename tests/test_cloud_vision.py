"""Cloud Vision in Python: Google's client, tries, batches, the cache, labels."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from asking_cloud import QUICK, asking, distinct
from PIL import Image
from real import CHELSEA, COFFEE
from vision_server import Fault, VisionServer, quota_exceeded

from edgecat import Classification, CloudError, PhotoError

pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")


pytestmark = pytest.mark.usefixtures("no_credentials")


@pytest.mark.parametrize(
    "fault",
    [
        quota_exceeded(),
        quota_exceeded("0.01"),
        Fault(503, "UNAVAILABLE", "The service is currently unavailable."),
        Fault(502, body=b"<html>502 Bad Gateway</html>"),
        Fault(500, "INTERNAL", "Internal error encountered."),
        Fault(0),
    ],
    ids=lambda fault: f"{fault.code}{dict(fault.headers).get('Retry-After', '')}",
)
def test_what_passes_is_tried_again(fault: Fault, service: VisionServer) -> None:
    service.faults += [fault, fault]
    with asking(service) as cloud:
        assert cloud.classify(CHELSEA).label == "cat"
    assert len(service.requests) == 3


def test_the_service_says_how_long_to_wait(service: VisionServer) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.7s"}
    service.faults += [quota_exceeded("1"), quota_exceeded()._replace(details=(info,))]
    began = time.monotonic()
    with asking(service, QUICK) as cloud:
        assert cloud.classify(CHELSEA).label == "cat"
    assert time.monotonic() - began > 1.7
    service.faults.append(quota_exceeded("600"))  # longer than we would wait in all
    with asking(service) as cloud, pytest.raises(CloudError, match="the quota is used up"):
        cloud.classify(COFFEE)


def test_tries_end(service: VisionServer) -> None:
    service.faults += [Fault(503, "UNAVAILABLE", "Try later.")] * 1000
    with asking(service, QUICK._replace(total=2)) as cloud, pytest.raises(CloudError) as caught:
        cloud.classify(CHELSEA)
    assert (
        str(caught.value)
        == "Google Cloud Vision is not available (Try later.); what was answered is kept, "
        "run the same command again to go on later"
    )
    assert 2 < len(service.requests) < 500


def test_a_slow_service(service: VisionServer) -> None:
    service.faults.append(Fault(503, "UNAVAILABLE", "Too late.", after=20))
    with asking(service, QUICK._replace(request=0.3)) as cloud:
        began = time.monotonic()
        assert cloud.classify(CHELSEA).label == "cat"
        assert time.monotonic() - began < 15
    service.faults += [Fault(503, "UNAVAILABLE", "Too late.", after=0.5)] * 50
    with (
        asking(service, QUICK._replace(request=0.1, total=0.4)) as cloud,
        pytest.raises(CloudError, match=r"cannot be reached .*timed out.* timeout=0\.1"),
    ):
        cloud.classify(COFFEE)


def test_errors_of_photos_that_pass_are_tried_again_without_the_others(
    service: VisionServer,
) -> None:
    photos = distinct(8)
    service.photo_faults += [0, 14, 8, 0, 4]
    with asking(service) as cloud:
        assert len(list(cloud.classify_many(photos))) == 8
    assert [asked.photos for asked in service.requests] == [8, 3]
    assert set(service.answered.values()) == {1}
    service.photo_faults += [7, 0]  # permission denied, which stays
    failed: list[str] = []
    with asking(service) as cloud:
        left = list(
            cloud.classify_many(
                distinct(10)[8:], on_error=lambda photo, error: failed.append(str(error))
            )
        )
    assert (len(left), failed) == (
        1,
        ["bytes: refused by Google Cloud Vision (The service is unavailable.)"],
    )


def test_an_answer_that_cannot_be_kept_is_handed_on_all_the_same(
    service: VisionServer, tmp_path: Path
) -> None:
    photos = distinct(4)
    answers: list[Classification] = []
    with asking(service) as cloud:
        [folder] = (tmp_path / "cache").rglob("LABEL_DETECTION*")
        (folder / f"{hashlib.sha256(photos[1]).hexdigest()}.json").mkdir()
        with pytest.raises(CloudError, match="answers that are paid for cannot be kept here"):
            answers.extend(cloud.classify_many(photos))
    assert len(answers) == len(service.answered) == 4


@pytest.mark.parametrize("kept", [[{"description": "Cat"}], {"cat": 1}, [1], "cat"])
def test_a_kept_answer_that_is_none_is_asked_for_again(
    service: VisionServer, tmp_path: Path, kept: object
) -> None:
    with asking(service) as cloud:
        [folder] = (tmp_path / "cache").rglob("LABEL_DETECTION*")
        path = folder / f"{hashlib.sha256(CHELSEA.read_bytes()).hexdigest()}.json"
        path.write_text(json.dumps({"labelAnnotations": kept}))
        assert cloud.classify(CHELSEA).label == "cat"
    assert len(service.answered) == 1


def test_what_is_not_google(service: VisionServer) -> None:
    service.faults += [
        Fault(200, body=b"<html>Please log in to this network</html>"),
        Fault(200, body=b"\xff\xfe"),
        Fault(200, body=b'{"responses": []}'),
        Fault(403, body=b'{"error": "forbidden"}'),
        Fault(404, "NOT_FOUND", "Requested entity was not found."),
    ]
    for _ in range(5):
        with (
            asking(service) as cloud,
            pytest.raises(
                CloudError,
                match=r"^http://127.0.0.1:\d+ does not answer as Google Cloud Vision does .*proxy$",
            ),
        ):
            cloud.classify(CHELSEA)
    assert len(service.requests) == 5


def test_any_form_of_photo(service: VisionServer) -> None:
    import numpy as np

    image = Image.open(CHELSEA).convert("RGB")
    with asking(service) as cloud, CHELSEA.open("rb") as file:
        assert [
            answer.label
            for answer in cloud.classify_many([str(CHELSEA), file, image, np.asarray(image)])
        ] == ["cat"] * 4
        with pytest.raises(PhotoError, match=r"none\.jpg: no such file"):
            cloud.classify("none.jpg")
    assert sorted(service.answered.values()) == [1, 1]  # the file, and the same pixels as a PNG


def test_a_damaged_answer_in_the_cache_is_asked_for_anew(
    service: VisionServer, tmp_path: Path
) -> None:
    with asking(service) as cloud:
        cloud.classify(CHELSEA)
        [kept] = (tmp_path / "cache").rglob("*.json")
        kept.write_text('{"labelAnno')
        assert cloud.classify(CHELSEA).label == "cat"
    assert list(service.answered.values()) == [2]


def label(description: str, score: float, mid: str = "") -> dict[str, str | float]:
    return {"mid": mid, "description": description, "score": score, "topicality": score}


@pytest.mark.parametrize(
    ("labels", "answer", "score"),
    [
        # As the service answered when the names were in small letters, and as it does now.
        (
            [
                label("cat", 0.926, "/m/01yrx"),
                label("mammal", 0.908),
                label("small to medium sized cats", 0.664),
                label("cat like mammal", 0.66),
            ],
            "cat",
            0.926,
        ),
        (
            [
                label("Mammal", 0.973),
                label("Dog", 0.958, "/m/0bt9lr"),
                label("Canidae", 0.956),
                label("Dog breed", 0.909),
                label("Snout", 0.891),
            ],
            "dog",
            0.958,
        ),
        ([label("Dog breed", 0.899, "/m/0kpmf"), label("Human body", 0.884)], "dog", 0.899),
        ([label("Grass", 0.97), label("Kitten", 0.71)], "cat", 0.71),
        ([label("Cat", 0.8), label("Dog", 0.9)], "dog", 0.9),
        ([label("Domestic short-haired cat", 0.6)], "cat", 0.6),
        # Wild relatives are neither, and what they share with pets decides nothing.
        (
            [
                label("Lion", 0.98),
                label("Felidae", 0.97),
                label("Big cats", 0.96),
                label("Carnivore", 0.95),
            ],
            "neither",
            0.98,
        ),
        (
            [
                label("Bobcat", 0.9),
                label("Small to medium-sized cats", 0.95),
                label("Whiskers", 0.97),
            ],
            "neither",
            0.9,
        ),
        ([label("Wolf", 0.93), label("Canidae", 0.95), label("Dog", 0.6)], "neither", 0.93),
        ([label("Hot dog", 0.95), label("Food", 0.9)], "neither", 0.95),
        # What the mapping does not know, and nothing at all.
        ([label("Flux capacitor", 0.9), label("Chair", 0.8)], "neither", 0.9),
        ([], "neither", 0.0),
    ],
)
def test_labels_become_cat_dog_or_neither(
    service: VisionServer, labels: list[dict[str, str | float]], answer: str, score: float
) -> None:
    with asking(service) as cloud:
        result = cloud.interpret(labels)
    assert (result.label, result.group, result.score) == (answer, answer, score)
    assert result.scores[0] == (answer, score)
    assert [each.score for each in result.scores] == sorted(
        (each.score for each in result.scores), reverse=True
    )
    assert (
        {each.label for each in result.scores}
        == {"cat", "dog", "neither"}
        == set(cloud.card.labels)
    )
