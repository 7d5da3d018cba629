"""Cloud Vision on the command line: keys, permissions, addresses and networks that fail."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from asking_cloud import asking
from real import CHELSEA, Run
from vision_server import KEY, Fault, VisionServer, bad_key

from edgecat import CloudError

pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")

from edgecat.cloud.vision import CloudVision

pytestmark = pytest.mark.usefixtures("no_credentials")


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


def test_a_wrong_key_is_never_shown(edgecat: Run, service: VisionServer, tmp_path: Path) -> None:
    wrong = "AIzaSyWrong-key-0123456789"
    done = edgecat(
        "classify", "--cloud-vision", CHELSEA, **{**service.environment, "GOOGLE_API_KEY": wrong}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgecat: Google Cloud Vision refuses the API key (API key not valid. Please "
        "pass a valid API key.); set GOOGLE_API_KEY to a valid one\n"
    )
    service.faults.append(bad_key(f"API key {wrong} not valid,\nnot at all."))
    echoed = edgecat(
        "classify", "--cloud-vision", CHELSEA, **{**service.environment, "GOOGLE_API_KEY": wrong}
    )
    assert echoed.stderr == (
        "edgecat: Google Cloud Vision refuses the API key (API key [the API key] not "
        "valid, not at all.); set GOOGLE_API_KEY to a valid one\n"
    )
    assert len(service.requests) == 2  # an error for good is not tried again
    edgecat("classify", "--cloud-vision", CHELSEA, **service.environment)
    assert [asked.headers["x-goog-api-key"] for asked in service.requests] == [wrong, wrong, KEY]
    assert not any(key in asked.path for asked in service.requests for key in (wrong, KEY))
    assert not any(
        key.encode() in path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
        for key in (wrong, KEY)
    )


def test_what_is_no_key_is_not_sent(service: VisionServer) -> None:
    with pytest.raises(CloudError) as caught, asking(service, key="two words"):
        pass
    assert (
        str(caught.value)
        == "GOOGLE_API_KEY holds more than the letters, digits and signs of an API key; set "
        "it to the key alone"
    )
    with asking(service, key=f"{KEY}\n") as cloud:
        assert cloud.classify(CHELSEA).label == "cat"


def test_no_permission(edgecat: Run, service: VisionServer) -> None:
    service.faults.append(
        Fault(
            403,
            "PERMISSION_DENIED",
            "Cloud Vision API has not been used in project 1 before or it is disabled.",
        )
    )
    done = edgecat("classify", "--cloud-vision", CHELSEA, **service.environment)
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
    service: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    with asking(service) as cloud:
        assert cloud.classify(CHELSEA).label == "cat"
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with (
        pytest.raises(
            CloudError,
            match=r"^HTTP_PROXY would carry photos and keys for http://127\.0\.0\.1:\d+ "
            r"unencrypted; set NO_PROXY=",
        ),
        asking(service),
    ):
        pass


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
