"""Cloud Vision on the command line: answers, costs, refusals, interruptions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asking_cloud import album
from real import CHELSEA, COFFEE, Run
from vision_server import Fault, VisionServer

pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")

from edgecat.cloud.pricing import FREE_UNITS

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_classify_and_then_once_more_from_the_cache(
    edgecat: Run, service: VisionServer, tmp_path: Path
) -> None:
    arguments = ("classify", "--cloud-vision", CHELSEA, COFFEE, "--json")
    done = edgecat(*arguments, **service.environment)
    assert (done.returncode, done.stderr) == (0, "")
    cat, coffee = (json.loads(line) for line in done.stdout.splitlines())
    assert (cat["label"], cat["group"], coffee["label"]) == ("cat", "cat", "neither")
    assert cat["score"] == cat["scores"]["cat"] > 0.9
    assert cat["scores"]["dog"] == 0
    assert (
        cat["engine"] == "Cloud Vision API v1 (google-cloud-vision "
        f"{importlib.metadata.version('google-cloud-vision')}) at {service.address}"
    )
    [asked] = service.requests
    assert (asked.path.split("?")[0], asked.photos) == ("/v1/images:annotate", 2)
    again = edgecat(*arguments, **service.environment)
    assert again.stdout == done.stdout
    assert len(service.requests) == 1
    kept = sorted((tmp_path / "cache" / "edgecat" / "cloud-vision").rglob("*.json"))
    assert {path.stem for path in kept} == set(service.answered)
    assert {
        label["description"] for label in json.loads(kept[0].read_text())["labelAnnotations"]
    } <= {"Cat", "Felidae", "Whiskers", "Tableware", "Drink"}


def test_the_options_of_classify_hold(edgecat: Run, service: VisionServer) -> None:
    done = edgecat(
        "classify",
        "--cloud-vision",
        "-",
        "--csv",
        "--threshold",
        0.999,
        stdin=CHELSEA.read_bytes(),
        **service.environment,
    )
    header, row = done.stdout.splitlines()
    assert header == "photo,label,score,cat,dog,neither"
    assert row.startswith("-,unsure,0.99")
    wrong = edgecat("classify", "--cloud-vision", CHELSEA, "--threads", 2)
    assert wrong.returncode == 2
    assert "--cloud-vision takes no model" in wrong.stderr


def test_evaluate_beside_a_model(edgecat: Run, service: VisionServer, tmp_path: Path) -> None:
    for name, photo in (
        ("cats/a.jpg", CHELSEA),
        ("cats/b.jpg", CHELSEA),
        ("neither/c.jpg", COFFEE),
    ):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "album" / name)
    done = edgecat("evaluate", "album", "--cloud-vision", "--json", **service.environment)
    record = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (record["model"], record["photos"], record["accuracy"], record["file_bytes"]) == (
        "Google Cloud Vision",
        3,
        1,
        None,
    )
    assert list(service.answered.values()) == [1, 1]  # the same cat twice is asked once
    from edgecat.models import DEFAULT_MODEL

    done = edgecat(
        "evaluate",
        "album",
        "--cloud-vision",
        "--model",
        DEFAULT_MODEL,
        "--json",
        **service.environment,
    )
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == [
        "catdog-int8.tflite",
        "Google Cloud Vision",
    ]
    assert len(service.requests) == 1


def test_a_used_up_quota_and_going_on_later(
    edgecat: Run, tmp_path: Path, service: VisionServer
) -> None:
    folder = album(tmp_path / "album", 40)
    service.quota = 24  # less than two requests, or one of sixteen and the last of eight
    done = edgecat("classify", "--cloud-vision", folder, "--json", **service.environment)
    assert done.returncode == 1
    assert done.stderr == (
        "edgecat: Google Cloud Vision: the quota is used up (Quota exceeded for quota "
        "metric 'Label detection requests' and limit 'Label detection"
        " requests per minute'.); what was answered is kept, run the same command again "
        "to go on later\n"
    )
    assert 16 <= len(service.answered) <= 24
    service.quota = None
    done = edgecat("classify", "--cloud-vision", folder, "--json", **service.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["photo"] for line in done.stdout.splitlines()] == sorted(
        map(str, folder.iterdir())
    )
    assert len(service.answered) == 40
    assert set(service.answered.values()) == {1}  # nothing is paid for twice


def test_a_photo_that_the_service_refuses(
    edgecat: Run, service: VisionServer, tmp_path: Path
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
        **service.environment,
    )
    assert done.returncode == 1
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["cat", "neither"]
    assert done.stderr.splitlines() == [
        "edgecat: cut.jpg: refused by Google Cloud Vision (Bad image data.)",
        "edgecat: text.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)",
    ]
    assert [asked.photos for asked in service.requests] == [3]  # what is no photo is not even sent


def test_more_than_the_free_photos_are_asked_for_first(
    edgecat: Run, service: VisionServer, tmp_path: Path
) -> None:
    folder = album(tmp_path / "album", FREE_UNITS + 20)
    (folder / "again.png").write_bytes((folder / "0000.png").read_bytes())  # costs nothing
    costs = (
        "edgecat: Google Cloud Vision is to be asked about 1,020 photos: $0.03 if none "
        "of this month's 1,000 free ones are used yet, at most $1.53"
    )
    done = edgecat("classify", "--cloud-vision", folder, **service.environment)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{costs}; agree with --yes\n")
    assert not service.requests
    service.quota = 0
    done = edgecat("classify", "--cloud-vision", folder, "--yes", **service.environment)
    assert done.stderr.splitlines()[0] == costs
    assert service.requests


@pytest.mark.parametrize("reply", ["n", "y"])
def test_the_question_about_costs(service: VisionServer, tmp_path: Path, reply: str) -> None:
    folder = album(tmp_path / "album", FREE_UNITS + 20)
    service.quota = 0
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
            env={**os.environ, **service.environment},
        ) as running:
            os.write(ours, f"{reply}\n".encode())
            stdout, stderr = running.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (running.returncode, stdout) == (1, "")
    assert "\nGo on? [y/N] " in stderr
    assert stderr.endswith("edgecat: nothing was asked\n") == (reply == "n")
    assert bool(service.requests) == (reply == "y")


def test_interrupted(service: VisionServer, tmp_path: Path) -> None:
    service.faults += [Fault(503, "UNAVAILABLE", "Try later.", headers=(("Retry-After", "50"),))]
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
        env={**os.environ, **service.environment},
    ) as running:
        while len(service.answered) < 4 and running.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        stderr = running.communicate(timeout=40)[1]
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert time.monotonic() - began < 40  # the pause ends at once


def test_a_cache_that_cannot_be_written(
    edgecat: Run, service: VisionServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = edgecat(
        "classify",
        "--cloud-vision",
        CHELSEA,
        **service.environment,
        XDG_CACHE_HOME=str(tmp_path / "file"),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "answers that are paid for cannot be kept here (Not a directory); set "
        "XDG_CACHE_HOME to a folder that can be written\n"
    )
    assert not service.requests
