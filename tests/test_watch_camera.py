"""`edgecat watch` with cameras, streams and videos."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from real import CHELSEA, Run

from edgecat import (
    InputRecipe,
    read_pixels,
)
from edgecat.watch.camera import camera_frames


def test_a_video_is_looked_at_every_so_often_and_in_rgb(video: Path) -> None:
    frames = list(camera_frames(str(video), every=0.5))
    assert [round(frame.at, 2) for frame in frames] == [second / 2 for second in range(12)]
    assert frames[3].name == f"{video} at 1.5 s"
    assert frames[3].pixels.shape == (240, 320, 3)
    original = read_pixels(CHELSEA, InputRecipe(240, 320)).astype(np.float32)
    channels = [
        [abs(original[..., own].mean() - frames[3].pixels[..., other].mean()) for other in range(3)]
        for own in range(3)
    ]
    assert [int(np.argmin(row)) for row in channels] == [0, 1, 2]  # red is red
    assert len(list(camera_frames(str(video), every=0))) == 60


def test_a_damaged_frame_is_passed_over(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs edgecat[camera]")

    class Damaged:
        """A capture whose second frame cannot be decoded."""

        def __init__(self, source: str) -> None:
            self.capture, self.frames = real(source), 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.capture, name)

        def retrieve(self) -> tuple[bool, Any]:
            self.frames += 1
            return (False, None) if self.frames == 2 else self.capture.retrieve()

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Damaged)
    assert len(list(camera_frames(str(video), every=0))) == 59


class Stream(BaseHTTPRequestHandler):
    """A camera on a network: Motion JPEG, of which the cable is pulled after some frames."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(30):
            content = CHELSEA.read_bytes()
            self.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                % (len(content), content)
            )

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def network_camera() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
        server.shutdown()


def test_a_camera_that_is_unplugged(edgecat: Run) -> None:
    pytest.importorskip("cv2", reason="needs edgecat[camera]")
    with network_camera() as address:
        done = edgecat("watch", address, "--every", 0, "--json")
    assert done.returncode == 1
    (event,) = map(json.loads, done.stdout.splitlines())
    assert (event["event"], event["label"], event["photo"]) == (
        "appeared",
        "cat",
        f"camera {address}",
    )
    assert done.stderr == f"edgecat: {address}: gives no more pictures; was it unplugged?\n"


PICAMERA = """
import numpy, PIL.Image
class Picamera2:
    def __init__(self): {opening}; self.frames = 0
    def create_video_configuration(self, main): return main
    def configure(self, configuration):
        assert configuration == {{"size": (640, 480), "format": "BGR888"}}, configuration
    def start(self): pass
    def close(self): print("closed", flush=True)
    def __enter__(self): return self
    def __exit__(self, *_): self.close()
    def capture_array(self, stream):
        self.frames += 1
        if self.frames > 4: raise RuntimeError("Camera frontend has timed out!")
        return numpy.asarray(PIL.Image.open({photo!r}).resize((640, 480)))
"""


def test_a_raspberry_pis_own_camera(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text(PICAMERA.format(opening="pass", photo=str(CHELSEA)))
    done = edgecat("watch", "picamera2", "--every", 0, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    _, label, what, _, *name = done.stdout.split()
    assert [label, what, *name] == ["cat", "appeared", "camera", "picamera2", "closed"]
    assert (
        done.stderr
        == "edgecat: picamera2: gives no more pictures (Camera frontend has timed out!); is "
        "its cable in?\n"
    )
    (tmp_path / "picamera2.py").write_text(PICAMERA.format(opening="[][0]", photo=str(CHELSEA)))
    done = edgecat("watch", "picamera2", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: picamera2: no camera (list index out of range); is its cable in, and "
        "is it used by no other program?\n"
    )


def test_libraries_and_cameras_that_are_not_there(edgecat: Run, tmp_path: Path) -> None:
    expected = {
        "cv2": (
            "0",
            "watching a camera needs 'cv2'; install it with: pip install 'edgecat[camera]'",
        ),
        "picamera2": (
            "picamera2",
            "watching a camera needs 'picamera2'; install it with: sudo apt install "
            "python3-picamera2, for an environment made with --system-site-packages",
        ),
    }
    for library, (camera, message) in expected.items():
        (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError(name={library!r})")
        done = edgecat("watch", camera, PYTHONPATH=str(tmp_path))
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file')"
    )
    done = edgecat("watch", "0", PYTHONPATH=str(tmp_path))
    assert done.stderr == (
        "edgecat: 'cv2' cannot be imported (libGL.so.1: cannot open shared object file); "
        "install it again with: pip install 'edgecat[camera]'\n"
    )
    (tmp_path / "cv2.py").unlink()
    pytest.importorskip("cv2", reason="needs edgecat[camera]")
    (tmp_path / "text.avi").write_text("no video")
    for camera in ("97", "/dev/null", "rtsp://127.0.0.1:9/stream", "text.avi"):
        done = edgecat("watch", camera)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr
            == f"edgecat: {camera}: cannot be opened as a camera or video; is it plugged in, "
            "and used by no other program?\n"
        )


def size(photo: Path) -> tuple[int, int]:
    with Image.open(photo) as image:
        return image.size


def test_a_cameras_pictures_are_kept_where_asked(edgecat: Run, video: Path, tmp_path: Path) -> None:
    done = edgecat("watch", video, "--save", "seen", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    appeared, gone = map(json.loads, done.stdout.splitlines())
    (kept,) = (tmp_path / "seen").iterdir()
    assert appeared["photo"] == f"seen/{kept.name}"
    assert kept.name.endswith("-cat.jpg")
    assert size(kept) == (320, 240)
    assert json.loads(edgecat("classify", kept, "--json").stdout)["label"] == "cat"
    assert gone["photo"] == f"{video} at 5.5 s"


def test_a_cameras_picture_is_a_file_for_a_command(
    edgecat: Run, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    done = edgecat("watch", video, "--exec", "cp {photo} given.jpg", TMPDIR=str(tmp_path / "tmp"))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=4)[1:] for line in done.stdout.splitlines()] == [
        ["cat", "appeared", done.stdout.split()[3], f"{video} at 1.5 s"],
        ["cat", "gone", done.stdout.splitlines()[1].split()[3], f"{video} at 5.5 s"],
    ]
    assert size(tmp_path / "given.jpg") == (320, 240)
    assert list((tmp_path / "tmp").iterdir()) == []
