"""The Cloud Vision baseline: Google's own client against a server on this machine.

The server speaks Google's protocol.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from real import CHELSEA, COFFEE, Run
from vision_server import KEY, MAX_BYTES, Fault, VisionServer, bad_key, quota_exceeded

from edgecat import Classification, CloudError, PhotoError

pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")

from edgecat.cloud.connection import Connection
from edgecat.cloud.pricing import FREE_UNITS
from edgecat.cloud.request import HEAVY
from edgecat.cloud.vision import CloudVision, Patience

QUICK = Patience(first_pause=0.01, longest_pause=0.05, total=30, request=60)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.fixture
def server() -> Iterator[VisionServer]:
    with VisionServer() as running:
        yield running


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


# Through the command line


def test_classify_and_then_once_more_from_the_cache(
    edgecat: Run, server: VisionServer, tmp_path: Path
) -> None:
    arguments = ("classify", "--cloud-vision", CHELSEA, COFFEE, "--json")
    done = edgecat(*arguments, **server.environment)
    assert (done.returncode, done.stderr) == (0, "")
    cat, coffee = (json.loads(line) for line in done.stdout.splitlines())
    assert (cat["label"], cat["group"], coffee["label"]) == ("cat", "cat", "neither")
    assert cat["score"] == cat["scores"]["cat"] > 0.9
    assert cat["scores"]["dog"] == 0
    assert (
        cat["engine"] == "Cloud Vision API v1 (google-cloud-vision "
        f"{importlib.metadata.version('google-cloud-vision')}) at {server.address}"
    )
    [asked] = server.requests
    assert (asked.path.split("?")[0], asked.photos) == ("/v1/images:annotate", 2)
    again = edgecat(*arguments, **server.environment)
    assert again.stdout == done.stdout
    assert len(server.requests) == 1
    kept = sorted((tmp_path / "cache" / "edgecat" / "cloud-vision").rglob("*.json"))
    assert {path.stem for path in kept} == set(server.answered)
    assert {
        label["description"] for label in json.loads(kept[0].read_text())["labelAnnotations"]
    } <= {"Cat", "Felidae", "Whiskers", "Tableware", "Drink"}


def test_the_options_of_classify_hold(edgecat: Run, server: VisionServer) -> None:
    done = edgecat(
        "classify",
        "--cloud-vision",
        "-",
        "--csv",
        "--threshold",
        0.999,
        stdin=CHELSEA.read_bytes(),
        **server.environment,
    )
    header, row = done.stdout.splitlines()
    assert header == "photo,label,score,cat,dog,neither"
    assert row.startswith("-,unsure,0.99")
    wrong = edgecat("classify", "--cloud-vision", CHELSEA, "--threads", 2)
    assert wrong.returncode == 2
    assert "--cloud-vision takes no model" in wrong.stderr


def test_evaluate_beside_a_model(edgecat: Run, server: VisionServer, tmp_path: Path) -> None:
    for name, photo in (
        ("cats/a.jpg", CHELSEA),
        ("cats/b.jpg", CHELSEA),
        ("neither/c.jpg", COFFEE),
    ):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "album" / name)
    done = edgecat("evaluate", "album", "--cloud-vision", "--json", **server.environment)
    record = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (record["model"], record["photos"], record["accuracy"], record["file_bytes"]) == (
        "Google Cloud Vision",
        3,
        1,
        None,
    )
    assert list(server.answered.values()) == [1, 1]  # the same cat twice is asked once
    from edgecat.models import DEFAULT_MODEL

    done = edgecat(
        "evaluate",
        "album",
        "--cloud-vision",
        "--model",
        DEFAULT_MODEL,
        "--json",
        **server.environment,
    )
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == [
        "catdog-int8.tflite",
        "Google Cloud Vision",
    ]
    assert len(server.requests) == 1


def test_no_credentials(edgecat: Run) -> None:
    done = edgecat("classify", "--cloud-vision", CHELSEA)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: Google Cloud Vision needs credentials; set GOOGLE_API_KEY, or run: "
        "gcloud auth application-default login\n"
    )
    done = edgecat(
        "classify", "--cloud-vision", CHELSEA, GOOGLE_APPLICATION_CREDENTIALS="none.json"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgecat: Google Cloud Vision needs credentials (File none.json was not found.); "
        "set GOOGLE_API_KEY, or run: gcloud auth application-default login\n"
    )


def test_a_wrong_key_is_never_shown(edgecat: Run, server: VisionServer, tmp_path: Path) -> None:
    wrong = "AIzaSyWrong-key-0123456789"
    done = edgecat(
        "classify", "--cloud-vision", CHELSEA, **{**server.environment, "GOOGLE_API_KEY": wrong}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgecat: Google Cloud Vision refuses the API key (API key not valid. Please "
        "pass a valid API key.); set GOOGLE_API_KEY to a valid one\n"
    )
    server.faults.append(bad_key(f"API key {wrong} not valid,\nnot at all."))
    echoed = edgecat(
        "classify", "--cloud-vision", CHELSEA, **{**server.environment, "GOOGLE_API_KEY": wrong}
    )
    assert echoed.stderr == (
        "edgecat: Google Cloud Vision refuses the API key (API key [the API key] not "
        "valid, not at all.); set GOOGLE_API_KEY to a valid one\n"
    )
    assert len(server.requests) == 2  # an error for good is not tried again
    edgecat("classify", "--cloud-vision", CHELSEA, **server.environment)
    assert [asked.headers["x-goog-api-key"] for asked in server.requests] == [wrong, wrong, KEY]
    assert not any(key in asked.path for asked in server.requests for key in (wrong, KEY))
    assert not any(
        key.encode() in path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
        for key in (wrong, KEY)
    )


def test_what_is_no_key_is_not_sent(server: VisionServer) -> None:
    with pytest.raises(CloudError) as caught, asking(server, key="two words"):
        pass
    assert (
        str(caught.value)
        == "GOOGLE_API_KEY holds more than the letters, digits and signs of an API key; set "
        "it to the key alone"
    )
    with asking(server, key=f"{KEY}\n") as cloud:
        assert cloud.classify(CHELSEA).label == "cat"


def test_no_permission(edgecat: Run, server: VisionServer) -> None:
    server.faults.append(
        Fault(
            403,
            "PERMISSION_DENIED",
            "Cloud Vision API has not been used in project 1 before or it is disabled.",
        )
    )
    done = edgecat("classify", "--cloud-vision", CHELSEA, **server.environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgecat: Google Cloud Vision refuses these credentials (Cloud Vision API has "
        "not been used in project 1 before or it is disabled.);"
        " enable the Cloud Vision API and billing for their project, or use others\n"
    )


def test_no_network(edgecat: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    began = time.monotonic()
    done = edgecat("classify", "--cloud-vision", CHELSEA, EDGECAT_CLOUD_VISION_ENDPOINT=address)
    assert time.monotonic() - began < 30
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"edgecat: Google Cloud Vision cannot be reached at {address} ([Errno 111] "
        "Connection refused); check the network;"
        " what was answered is kept, run the same command again to go on\n"
    )


def test_a_used_up_quota_and_going_on_later(
    edgecat: Run, tmp_path: Path, server: VisionServer
) -> None:
    folder = album(tmp_path / "album", 40)
    server.quota = 24  # less than two requests, or one of sixteen and the last of eight
    done = edgecat("classify", "--cloud-vision", folder, "--json", **server.environment)
    assert done.returncode == 1
    assert done.stderr == (
        "edgecat: Google Cloud Vision: the quota is used up (Quota exceeded for quota "
        "metric 'Label detection requests' and limit 'Label detection"
        " requests per minute'.); what was answered is kept, run the same command again "
        "to go on later\n"
    )
    assert 16 <= len(server.answered) <= 24
    server.quota = None
    done = edgecat("classify", "--cloud-vision", folder, "--json", **server.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["photo"] for line in done.stdout.splitlines()] == sorted(
        map(str, folder.iterdir())
    )
    assert len(server.answered) == 40
    assert set(server.answered.values()) == {1}  # nothing is paid for twice


def test_a_photo_that_the_service_refuses(
    edgecat: Run, server: VisionServer, tmp_path: Path
) -> None:
    (tmp_path / "cut.jpg").write_bytes(CHELSEA.read_bytes()[:9000])
    (tmp_path / "text.jpg").write_text("no photo")
    done = edgecat(
        "classify",
        "--cloud-vision",
        CHELSEA,
        "cut.jpg",
        "text.jpg",
        COFFEE,
        "--json",
        **server.environment,
    )
    assert done.returncode == 1
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["cat", "neither"]
    assert done.stderr.splitlines() == [
        "edgecat: cut.jpg: refused by Google Cloud Vision (Bad image data.)",
        "edgecat: text.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)",
    ]
    assert [asked.photos for asked in server.requests] == [3]  # what is no photo is not even sent


def test_more_than_the_free_photos_are_asked_for_first(
    edgecat: Run, server: VisionServer, tmp_path: Path
) -> None:
    folder = album(tmp_path / "album", FREE_UNITS + 20)
    (folder / "again.png").write_bytes((folder / "0000.png").read_bytes())  # costs nothing
    costs = (
        "edgecat: Google Cloud Vision is to be asked about 1,020 photos: $0.03 if none "
        "of this month's 1,000 free ones are used yet, at most $1.53"
    )
    done = edgecat("classify", "--cloud-vision", folder, **server.environment)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{costs}; agree with --yes\n")
    assert not server.requests
    server.quota = 0
    done = edgecat("classify", "--cloud-vision", folder, "--yes", **server.environment)
    assert done.stderr.splitlines()[0] == costs
    assert server.requests


@pytest.mark.parametrize("reply", ["n", "y"])
def test_the_question_about_costs(server: VisionServer, tmp_path: Path, reply: str) -> None:
    folder = album(tmp_path / "album", FREE_UNITS + 20)
    server.quota = 0
    ours, theirs = pty.openpty()
    try:
        command = [
            sys.executable,
            "-c",
            "import edgecat.cli; edgecat.cli.main()",
            "classify",
            "--cloud-vision",
            str(folder),
        ]
        with subprocess.Popen(
            command,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **server.environment},
        ) as running:
            os.write(ours, f"{reply}\n".encode())
            stdout, stderr = running.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (running.returncode, stdout) == (1, "")
    assert "\nGo on? [y/N] " in stderr
    assert stderr.endswith("edgecat: nothing was asked\n") == (reply == "n")
    assert bool(server.requests) == (reply == "y")


def test_an_address_that_is_none(edgecat: Run) -> None:
    message = (
        "EDGECAT_CLOUD_VISION_ENDPOINT: photos and keys go to example.com over https "
        "only; expected https://example.com"
    )
    done = edgecat(
        "classify",
        "--cloud-vision",
        CHELSEA,
        EDGECAT_CLOUD_VISION_ENDPOINT="http://example.com",
        GOOGLE_API_KEY=KEY,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    for address in (
        "https://user:secret@example.com",
        "ftp://example.com",
        "https://",
        "https://example.com:port",
        "https://example.com/v1",
    ):
        with pytest.raises(
            CloudError,
            match=r"^EDGECAT_CLOUD_VISION_ENDPOINT is not an address; expected https://HOST$",
        ):
            CloudVision(endpoint=address)


def test_a_proxy_does_not_see_what_goes_to_this_machine(
    server: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    with asking(server) as cloud:
        assert cloud.classify(CHELSEA).label == "cat"
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with (
        pytest.raises(
            CloudError,
            match=r"^HTTP_PROXY would carry photos and keys for http://127\.0\.0\.1:\d+ "
            r"unencrypted; set NO_PROXY=",
        ),
        asking(server),
    ):
        pass


def test_interrupted(server: VisionServer, tmp_path: Path) -> None:
    server.faults += [Fault(503, "UNAVAILABLE", "Try later.", headers=(("Retry-After", "50"),))]
    # Even where the tests run in the background, and with Ctrl-C ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import "
        "edgecat.cli; edgecat.cli.main()"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "classify",
        "--cloud-vision",
        str(album(tmp_path / "album", 20)),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **server.environment},
    ) as running:
        while len(server.answered) < 4 and running.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        stderr = running.communicate(timeout=40)[1]
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert time.monotonic() - began < 40  # the pause ends at once


def test_a_cache_that_cannot_be_written(edgecat: Run, server: VisionServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = edgecat(
        "classify",
        "--cloud-vision",
        CHELSEA,
        **server.environment,
        XDG_CACHE_HOME=str(tmp_path / "file"),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "answers that are paid for cannot be kept here (Not a directory); set "
        "XDG_CACHE_HOME to a folder that can be written\n"
    )
    assert not server.requests


# Through the library, with short pauses


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
def test_what_passes_is_tried_again(fault: Fault, server: VisionServer) -> None:
    server.faults += [fault, fault]
    with asking(server) as cloud:
        assert cloud.classify(CHELSEA).label == "cat"
    assert len(server.requests) == 3


def test_the_service_says_how_long_to_wait(server: VisionServer) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.7s"}
    server.faults += [quota_exceeded("1"), quota_exceeded()._replace(details=(info,))]
    began = time.monotonic()
    with asking(server, QUICK) as cloud:
        assert cloud.classify(CHELSEA).label == "cat"
    assert time.monotonic() - began > 1.7
    server.faults.append(quota_exceeded("600"))  # longer than we would wait in all
    with asking(server) as cloud, pytest.raises(CloudError, match="the quota is used up"):
        cloud.classify(COFFEE)


def test_tries_end(server: VisionServer) -> None:
    server.faults += [Fault(503, "UNAVAILABLE", "Try later.")] * 1000
    with asking(server, QUICK._replace(total=2)) as cloud, pytest.raises(CloudError) as caught:
        cloud.classify(CHELSEA)
    assert (
        str(caught.value)
        == "Google Cloud Vision is not available (Try later.); what was answered is kept, "
        "run the same command again to go on later"
    )
    assert 2 < len(server.requests) < 500


def test_a_slow_service(server: VisionServer) -> None:
    server.faults.append(Fault(503, "UNAVAILABLE", "Too late.", after=20))
    with asking(server, QUICK._replace(request=0.3)) as cloud:
        began = time.monotonic()
        assert cloud.classify(CHELSEA).label == "cat"
        assert time.monotonic() - began < 15
    server.faults += [Fault(503, "UNAVAILABLE", "Too late.", after=0.5)] * 50
    with (
        asking(server, QUICK._replace(request=0.1, total=0.4)) as cloud,
        pytest.raises(CloudError, match=r"cannot be reached .*timed out.* timeout=0\.1"),
    ):
        cloud.classify(COFFEE)


def test_errors_of_photos_that_pass_are_tried_again_without_the_others(
    server: VisionServer,
) -> None:
    photos = distinct(8)
    server.photo_faults += [0, 14, 8, 0, 4]
    with asking(server) as cloud:
        assert len(list(cloud.classify_many(photos))) == 8
    assert [asked.photos for asked in server.requests] == [8, 3]
    assert set(server.answered.values()) == {1}
    server.photo_faults += [7, 0]  # permission denied, which stays
    failed: list[str] = []
    with asking(server) as cloud:
        left = list(
            cloud.classify_many(
                distinct(10)[8:], on_error=lambda photo, error: failed.append(str(error))
            )
        )
    assert (len(left), failed) == (
        1,
        ["bytes: refused by Google Cloud Vision (The service is unavailable.)"],
    )


def test_order_batches_and_repeated_photos(server: VisionServer) -> None:
    photos = [
        *distinct(50),
        CHELSEA.read_bytes(),
        *distinct(50),
        CHELSEA.read_bytes(),
        COFFEE.read_bytes(),
    ] * 2
    with asking(server) as cloud:
        answers = [answer.label for answer in cloud.classify_many(photos)]
    assert [i for i, label in enumerate(answers) if label == "cat"] == [50, 101, 153, 204]
    assert sorted(asked.photos for asked in server.requests) == [4, 16, 16, 16]
    assert (len(server.answered), set(server.answered.values())) == (52, {1})


def test_an_error_for_good_ends_it_and_the_rest_is_kept(server: VisionServer) -> None:
    photos = distinct(180)
    with asking(server) as cloud:
        assert len(list(cloud.classify_many(photos[:60]))) == 60
        server.faults.append(bad_key("API key expired."))
        answers = cloud.classify_many(photos)
        assert len([next(answers) for _ in range(60)]) == 60  # known before
        with pytest.raises(CloudError, match="refuses the API key"):
            list(answers)
        assert 60 <= len(server.answered) < 180
        assert cloud.estimate(photos).units == 180 - len(server.answered)
        assert len(list(cloud.classify_many(photos))) == 180
    assert (len(server.answered), set(server.answered.values())) == (180, {1})


def test_heavy_photos_are_sent_small(server: VisionServer, tmp_path: Path) -> None:
    path = tmp_path / "heavy.bmp"
    Image.open(CHELSEA).resize((4000, 2700)).save(path)
    assert path.stat().st_size > 20_000_000
    with asking(server) as cloud:
        assert cloud.classify(path).label == "cat"
        assert cloud.estimate([path]).units == 0  # known by the photo, not by what was sent
    assert int(server.requests[0].headers["content-length"]) < 500_000
    assert path.stat().st_size > 20_000_000


def test_requests_stay_below_the_limit_of_the_service(server: VisionServer) -> None:
    photos = []
    for i in range(14):
        file = io.BytesIO()
        Image.effect_noise((700, 1000 + i), 100).save(file, "PNG", compress_level=1)
        photos.append(file.getvalue())
    assert 600_000 < len(photos[0]) < HEAVY
    with asking(server) as cloud:
        assert len(list(cloud.classify_many(photos))) == 14
    sizes = [int(asked.headers["content-length"]) for asked in server.requests]
    assert 8_000_000 < max(sizes) < MAX_BYTES
    assert sum(asked.photos for asked in server.requests) == 14


def test_an_answer_that_cannot_be_kept_is_handed_on_all_the_same(
    server: VisionServer, tmp_path: Path
) -> None:
    photos = distinct(4)
    answers: list[Classification] = []
    with asking(server) as cloud:
        [folder] = (tmp_path / "cache").rglob("LABEL_DETECTION*")
        (folder / f"{hashlib.sha256(photos[1]).hexdigest()}.json").mkdir()
        with pytest.raises(CloudError, match="answers that are paid for cannot be kept here"):
            answers.extend(cloud.classify_many(photos))
    assert len(answers) == len(server.answered) == 4


@pytest.mark.parametrize("kept", [[{"description": "Cat"}], {"cat": 1}, [1], "cat"])
def test_a_kept_answer_that_is_none_is_asked_for_again(
    server: VisionServer, tmp_path: Path, kept: object
) -> None:
    with asking(server) as cloud:
        [folder] = (tmp_path / "cache").rglob("LABEL_DETECTION*")
        path = folder / f"{hashlib.sha256(CHELSEA.read_bytes()).hexdigest()}.json"
        path.write_text(json.dumps({"labelAnnotations": kept}))
        assert cloud.classify(CHELSEA).label == "cat"
    assert len(server.answered) == 1


def test_the_limits_of_the_server_are_googles(server: VisionServer) -> None:
    """So that the two tests above say something."""
    from google.api_core.exceptions import BadRequest
    from google.cloud import vision

    with asking(server) as cloud:
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


def test_the_quota_is_kept(server: VisionServer) -> None:
    with asking(server, photos_per_minute=60 * 100) as cloud:
        began = time.monotonic()
        list(cloud.classify_many(distinct(80)))
    assert (
        time.monotonic() - began > 0.64
    )  # the fifth request of sixteen starts after the time of four


def test_what_is_not_google(server: VisionServer) -> None:
    server.faults += [
        Fault(200, body=b"<html>Please log in to this network</html>"),
        Fault(200, body=b"\xff\xfe"),
        Fault(200, body=b'{"responses": []}'),
        Fault(403, body=b'{"error": "forbidden"}'),
        Fault(404, "NOT_FOUND", "Requested entity was not found."),
    ]
    for _ in range(5):
        with (
            asking(server) as cloud,
            pytest.raises(
                CloudError,
                match=r"^http://127.0.0.1:\d+ does not answer as Google Cloud Vision does .*proxy$",
            ),
        ):
            cloud.classify(CHELSEA)
    assert len(server.requests) == 5


def test_any_form_of_photo(server: VisionServer) -> None:
    import numpy as np

    image = Image.open(CHELSEA).convert("RGB")
    with asking(server) as cloud, CHELSEA.open("rb") as file:
        assert [
            answer.label
            for answer in cloud.classify_many([str(CHELSEA), file, image, np.asarray(image)])
        ] == ["cat"] * 4
        with pytest.raises(PhotoError, match=r"none\.jpg: no such file"):
            cloud.classify("none.jpg")
    assert sorted(server.answered.values()) == [1, 1]  # the file, and the same pixels as a PNG


def test_a_damaged_answer_in_the_cache_is_asked_for_anew(
    server: VisionServer, tmp_path: Path
) -> None:
    with asking(server) as cloud:
        cloud.classify(CHELSEA)
        [kept] = (tmp_path / "cache").rglob("*.json")
        kept.write_text('{"labelAnno')
        assert cloud.classify(CHELSEA).label == "cat"
    assert list(server.answered.values()) == [2]


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
    server: VisionServer, labels: list[dict[str, str | float]], answer: str, score: float
) -> None:
    with asking(server) as cloud:
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


def test_without_the_extra(edgecat: Run, tmp_path: Path) -> None:
    """Google's library is invisible; tests/test_wheel.py has an environment without it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['google.cloud'] = sys.modules['google.api_core'] = None\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = edgecat("classify", "--cloud-vision", CHELSEA, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: --cloud-vision needs 'google.api_core'; install it with: pip install "
        "'edgecat[cloud]'\n"
    )
