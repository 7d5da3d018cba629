"""`edgecat watch` and its parts: presence without flicker, folders, cameras, commands, misuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from real import CHELSEA, COFFEE, SAYS_WHEN_IT_WATCHES, Run, killed_after

from edgecat import (
    Classifier,
    EdgecatError,
    InputRecipe,
    ModelError,
    PhotoError,
    classify,
    read_pixels,
)
from edgecat.photo import Pixels
from edgecat.watch import folder as watching
from edgecat.watch.camera import camera_frames
from edgecat.watch.events import watch, watched
from edgecat.watch.folder import new_photos
from edgecat.watch.frame import Frame
from edgecat.watch.presence import Hysteresis, Presence

# Appearing and going.

SCORE = classify(CHELSEA).score
SHOWN = f"{SCORE:.1%}"


def told(
    scores: list[float], hysteresis: Hysteresis, seconds: float = 1.0
) -> list[tuple[int, bool]]:
    """(frame, whether it appeared) of each change, of one label's scores."""
    presence = Presence(["cat"], hysteresis)
    return [
        (number, change.appeared)
        for number, score in enumerate(scores)
        for change in presence.step({"cat": score}, number * seconds)
    ]


def test_it_appears_once_and_goes_once() -> None:
    rule = Hysteresis(appear_frames=2, gone_frames=3)
    assert told([0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1], rule) == [(2, True), (7, False)]


def test_it_does_not_flicker() -> None:
    rule = Hysteresis(appear_frames=2, gone_frames=3)
    assert told([0.9, 0.1] * 20, rule) == []  # never twice in a row
    assert told([0.79, 0.79] * 20, rule) == []  # never sure enough
    assert told([0.9, 0.9] + [0.6, 0.55, 0.7] * 20, rule) == [
        (1, True)
    ]  # between the two scores nothing changes
    assert told([0.9, 0.9] + [0.1, 0.1, 0.6] * 20, rule) == [
        (1, True)
    ]  # seen again before it was gone
    noisy = [float(score) for score in np.random.default_rng(1).normal(0.8, 0.1, 1000).clip(0, 1)]
    assert (
        sum(a < 0.8 <= b for a, b in pairwise(noisy)) > 200
    )  # as often would a mere threshold tell
    assert told(noisy, rule) == [(told(noisy, rule)[0][0], True)]


def test_labels_come_and_go_each_on_its_own() -> None:
    presence = Presence(["cat", "dog"], Hysteresis(appear_frames=1, gone_frames=1))
    assert [tuple(change) for change in presence.step({"cat": 0.9, "dog": 0.1}, 0)] == [
        ("cat", True, 0.9)
    ]
    assert [tuple(change) for change in presence.step({"cat": 0.2, "dog": 0.8}, 1)] == [
        ("cat", False, 0.2),
        ("dog", True, 0.8),
    ]


def test_what_is_long_unseen_is_gone_however_few_the_frames() -> None:
    presence = Presence(["cat"], Hysteresis(appear_frames=1, gone_frames=6, forget=60))
    assert presence.step({"cat": 0.9}, 0)[0].appeared
    assert presence.step(None, 59) == []
    assert presence.step({"cat": 0.6}, 60) == []  # seen again
    assert [tuple(change) for change in presence.step(None, 121)] == [("cat", False, None)]
    assert presence.step({"cat": 0.9}, 500)[0].appeared  # the next photo of a cat is news again
    assert [change.appeared for change in presence.step({"cat": 0.9}, 900)] == [False, True]
    rule = Hysteresis(appear_frames=2, forget=60)
    assert told([0.9, 0.9], rule, seconds=61) == []  # an hour apart they are not in a row


def test_a_rule_that_cannot_be() -> None:
    for appear, gone in ((0.4, 0.5), (0.8, 0.0), (1.1, 0.5)):
        with pytest.raises(
            ValueError, match="expected scores of 0 to 1, gone no higher than appear"
        ):
            Hysteresis(appear, gone)
    for frames, gone_frames, forget in ((0, 6, 60.0), (2, 0, 60.0), (2, 6, 0.0)):
        with pytest.raises(
            ValueError, match="expected at least one frame, and more than 0 seconds"
        ):
            Hysteresis(0.8, 0.5, frames, gone_frames, forget)


def test_frames_of_a_real_cat() -> None:
    def frames() -> Iterator[Frame]:
        for number, photo in enumerate([COFFEE, CHELSEA, CHELSEA, CHELSEA, COFFEE, COFFEE, COFFEE]):
            yield Frame(photo.name, read_pixels(photo, recipe), number)

    with Classifier() as classifier:
        recipe = classifier.card.input
        events = list(
            watch(classifier, frames(), hysteresis=Hysteresis(appear_frames=2, gone_frames=3))
        )
    assert [
        (event.change.label, event.change.appeared, event.frame and event.frame.at)
        for event in events
    ] == [("cat", True, 2), ("cat", False, 6)]


def test_what_is_watched_for() -> None:
    with Classifier() as classifier:
        card = classifier.card
    assert watched(card) == ("cat", "dog")
    assert watched(card, ["neither"]) == ("neither",)
    with pytest.raises(
        ModelError, match=r"^'fox' is no label of this model; expected cat, dog, neither$"
    ):
        watched(card, ["fox"])


# Folders.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SETTLE", 0.02)
    monkeypatch.setattr(watching, "PATIENCE", 60.0)


def opened(path: str) -> Pixels:
    return read_pixels(path, InputRecipe(64, 64))


def came(looks: Iterator[Frame | None], *expected: str) -> bool:
    """Whether these come, in this order, and nothing else."""
    names: list[str] = []
    end = None
    began = time.monotonic()
    while end is None or time.monotonic() < end:
        frame = next(looks)
        if frame:
            names.append(Path(frame.name).name)
        if end is None and (len(names) >= len(expected) or time.monotonic() > began + 20):
            end = time.monotonic() + 0.1
    return tuple(names) == expected


@pytest.mark.usefixtures("quick")
def test_new_photos_of_a_folder(tmp_path: Path) -> None:
    shutil.copy(CHELSEA, tmp_path / "old.jpg")
    looks = new_photos(tmp_path, opened, every=0.01)
    assert came(looks)  # nothing: it was there before
    shutil.copy(CHELSEA, tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("no photo by its name")
    shutil.copy(CHELSEA, tmp_path / ".hidden.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for ever
    assert came(looks, "b.jpg")
    shutil.copy(COFFEE, tmp_path / "upload.part")
    assert came(looks)
    (tmp_path / "upload.part").rename(tmp_path / "c.jpg")
    assert came(looks, "c.jpg")
    shutil.copy(COFFEE, tmp_path / "b.jpg")  # a camera that writes the same file again and again
    assert came(looks, "b.jpg")
    (tmp_path / "b.jpg").unlink()
    assert came(looks)
    shutil.copy(COFFEE, tmp_path / "b.jpg")
    assert came(looks, "b.jpg")


@pytest.mark.usefixtures("quick")
def test_a_photo_that_is_still_being_written_is_not_read_half(tmp_path: Path) -> None:
    looks = new_photos(tmp_path, opened, every=0.01)
    assert came(looks)
    content = CHELSEA.read_bytes()
    with (tmp_path / "slow.jpg").open("wb", buffering=0) as file:
        for part in range(4):
            assert came(looks)  # a pause that is long enough to look settled
            file.write(content[part * len(content) // 4 : (part + 1) * len(content) // 4])
        assert came(looks, "slow.jpg")
    assert came(looks)  # once is enough


@pytest.mark.usefixtures("quick")
def test_a_broken_photo_is_named_once_it_was_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[PhotoError] = []
    looks = new_photos(tmp_path, opened, every=0.01, on_error=errors.append)
    assert came(looks)
    (tmp_path / "half.jpg").write_bytes(CHELSEA.read_bytes()[:9000])
    (tmp_path / "empty.png").touch()
    assert came(looks)
    assert not errors
    monkeypatch.setattr(watching, "PATIENCE", 0.1)
    assert came(looks)
    assert came(looks)
    assert sorted(str(error).split(":")[0] for error in errors) == [
        str(tmp_path / "empty.png"),
        str(tmp_path / "half.jpg"),
    ]  # once each
    looks = new_photos(tmp_path, opened, every=0.01)
    assert came(looks)
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(PhotoError, match="not a photo"):
        came(looks, "text.jpg")


@pytest.mark.usefixtures("quick")
def test_folders_inside_and_the_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "2026" / "11").mkdir(parents=True)
    flat, deep = (
        new_photos(tmp_path, opened, every=0.01, recursive=recursive) for recursive in (False, True)
    )
    assert came(flat)
    assert came(deep)
    for age, name in enumerate(["c.jpg", "2026/11/a.jpg", "b.jpg"]):
        shutil.copy(CHELSEA, tmp_path / name)
        os.utime(tmp_path / name, (1e9 + age, 1e9 + age))
    (tmp_path / "2026" / "loop").symlink_to(tmp_path)
    assert came(flat, "c.jpg", "b.jpg")
    assert came(deep, "c.jpg", "a.jpg", "b.jpg")
    shutil.rmtree(tmp_path / "2026")
    assert came(deep)


@pytest.mark.usefixtures("quick")
def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    looks = new_photos(folder, opened, every=0.01)
    assert came(looks)
    folder.rmdir()
    with pytest.raises(
        EdgecatError, match=r"shots: no such folder; it was removed, or its drive is not there$"
    ):
        came(looks)


def test_looking_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    look, sleep = watching.list_photos, time.sleep

    def slow_look(folder: str | os.PathLike[str], recursive: bool) -> Any:
        sleep(0.02)
        return look(folder, recursive)

    monkeypatch.setattr(watching, "list_photos", slow_look)
    monkeypatch.setattr("time.sleep", naps.append)
    looks = new_photos(tmp_path, opened, every=0.01)
    for _ in range(4):
        next(looks)
    assert min(naps) >= 0.2  # ten times as long as a look took, though asked for more often


@pytest.mark.usefixtures("quick")
def test_an_entry_that_cannot_be_looked_at_is_named_once(tmp_path: Path) -> None:
    errors: list[PhotoError] = []
    looks = new_photos(tmp_path, opened, every=0.01, recursive=True, on_error=errors.append)
    assert came(looks)
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    shutil.copy(CHELSEA, tmp_path / "a.jpg")
    assert came(looks, "a.jpg")
    assert [str(error) for error in errors] == [
        f"{tmp_path / 'itself.jpg'}: cannot be looked at (Too many levels of symbolic links)"
    ]


# Cameras.


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, ten frames a second: a cat from second 1 to 3, coffee else."""
    cv2 = pytest.importorskip("cv2", reason="needs edgecat[camera]")
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    cat, coffee = (cv2.resize(cv2.imread(str(photo)), (320, 240)) for photo in (CHELSEA, COFFEE))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for number in range(60):
        writer.write(cat if 10 <= number < 30 else coffee)
    writer.release()
    return path


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
        "install it anew with: pip install 'edgecat[camera]'\n"
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


# The command.


@contextmanager
def watching_for(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`edgecat watch FOLDER`, once it watches."""
    program = (
        f"{SAYS_WHEN_IT_WATCHES}; watching.SETTLE, watching.PATIENCE = 0.05, 0.3; import "
        "edgecat.cli; edgecat.cli.main()"
    )
    command = [sys.executable, "-c", program, "watch", folder.name, "--every", "0.02", *options]
    # Where tests run in the background Ctrl-C is ignored, and what they start inherits that.
    start: dict[str, Any] = {
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, cwd=folder.parent, **pipes, **start) as process,
        killed_after(60, process),
    ):
        assert line(process) == "watching\n"
        yield process


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert "Traceback" not in stderr, stderr
    return process.returncode, stdout, stderr


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    (tmp_path / "shots").mkdir()
    return tmp_path / "shots"


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def test_watching_a_folder(shots: Path) -> None:
    with watching_for(shots, "--gone-frames", "1") as process:
        shutil.copy(CHELSEA, shots / "a.jpg")
        time_of_day, *words = line(process).split()
        assert words == ["cat", "appeared", SHOWN, "shots/a.jpg"]
        assert len(time_of_day.split(":")) == 3
        shutil.copy(COFFEE, shots / "b.jpg")
        assert line(process).split()[1:] == ["cat", "gone", "0.0%", "shots/b.jpg"]
        (shots / "c.jpg").write_text("no photo")
        assert process.stderr
        assert (
            process.stderr.readline()
            == "edgecat: shots/c.jpg: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)\n"
        )
        returncode, stdout, stderr = ended(process, signal.SIGINT)
    assert (returncode, stdout) == (130, "")
    assert stderr in ("", "edgecat: interrupted\n")


def test_json_and_sigterm(shots: Path) -> None:
    with watching_for(shots, "--json", "--forget", "0.3") as process:
        shutil.copy(CHELSEA, shots / "ü \u2603.jpg")
        appeared, gone = json.loads(line(process)), json.loads(line(process))
        assert ended(process, signal.SIGTERM) == (143, "", "")
    assert {key: appeared[key] for key in ("event", "label", "score", "photo")} == {
        "event": "appeared",
        "label": "cat",
        "score": pytest.approx(SCORE, abs=1e-6),
        "photo": "shots/ü \u2603.jpg",
    }
    assert {key: gone[key] for key in ("event", "label", "score", "photo")} == {
        "event": "gone",
        "label": "cat",
        "score": None,
        "photo": None,
    }
    assert appeared["time"] < gone["time"]


def test_a_command_is_run_without_a_shell(shots: Path) -> None:
    script = shots.parent / "note.py"
    script.write_text(
        "import json, sys; print(json.dumps(sys.argv[1:])); json.dump(sys.argv[1:], "
        "open('noted.json', 'w')); sys.exit(3)"
    )
    name = "$(touch pwned); {label} 'a\" b.jpg"
    noted = shots.parent / "noted.json"
    with watching_for(
        shots,
        "--exec",
        f"{sys.executable} {script} {{photo}} 'a {{label}}' {{score}} {{}}",
        "--gone-frames",
        "1",
    ) as process:
        shutil.copy(CHELSEA, shots / name)
        assert line(process).rstrip().endswith(name)
        assert process.stderr
        assert json.loads(process.stderr.readline()) == [
            f"shots/{name}",
            "a cat",
            f"{SCORE:.3f}",
            "{}",
        ]  # stdout is for the results alone
        assert process.stderr.readline().endswith(": exit status 3\n")
        assert json.loads(noted.read_text()) == [f"shots/{name}", "a cat", f"{SCORE:.3f}", "{}"]
        shutil.copy(
            COFFEE, shots / "b.jpg"
        )  # what goes runs nothing, and watching goes on after a command that failed
        assert "gone" in line(process)
        noted.unlink()
        shutil.copy(CHELSEA, shots / "c.jpg")
        assert "appeared" in line(process)
        assert json.loads(process.stderr.readline())[0] == "shots/c.jpg"
        assert process.stderr.readline().endswith(": exit status 3\n")
        assert ended(process, signal.SIGTERM) == (143, "", "")
    assert json.loads(noted.read_text())[0] == "shots/c.jpg"
    assert not (shots.parent / "pwned").exists()


def test_a_command_that_cannot_be_run_any_more(shots: Path) -> None:
    command = shots.parent / "act"
    command.write_text("#!/bin/sh\nexit 0\n")
    command.chmod(0o755)
    with watching_for(shots, "--exec", f"{command} {{photo}}") as process:
        command.unlink()
        shutil.copy(CHELSEA, shots / "a.jpg")
        assert "appeared" in line(process)
        assert process.stderr
        assert (
            process.stderr.readline()
            == f"edgecat: {command} shots/a.jpg: cannot be run (No such file or directory)\n"
        )
        assert ended(process, signal.SIGTERM) == (143, "", "")


def test_leaving_takes_a_running_command_along(shots: Path) -> None:
    with watching_for(shots, "--exec", "sh -c 'echo begun; exec sleep 60'") as process:
        shutil.copy(CHELSEA, shots / "a.jpg")
        assert "appeared" in line(process)
        assert process.stderr
        assert process.stderr.readline() == "begun\n"
        began = time.monotonic()
        assert ended(process, signal.SIGTERM) == (143, "", "")
        assert time.monotonic() - began < 20


def test_a_folder_that_vanishes_while_watched(shots: Path) -> None:
    with watching_for(shots) as process:
        shots.rmdir()
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (1, "")
    assert stderr == "edgecat: shots: no such folder; it was removed, or its drive is not there\n"


def test_a_reader_that_has_had_enough(shots: Path) -> None:
    with watching_for(shots, "--gone-frames", "1") as process:
        assert process.stdout
        process.stdout.close()
        shutil.copy(CHELSEA, shots / "a.jpg")
        assert process.wait(20) != 0
        assert process.stderr
        assert process.stderr.read() == ""


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


def test_misuse(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "file").touch()
    for arguments, message in {
        (
            "nowhere",
        ): "nowhere: no such folder or camera; expected a folder, a camera (0, /dev/video0, "
        "picamera2), a video file or a stream's address",
        ("shots", "--label", "fox"): "'fox' is no label of this model; expected cat, dog, neither",
        ("shots", "--model", "none.tflite"): "none.tflite: no such model file",
        (
            "0",
            "--save",
            "file",
        ): "file: cannot be made (File exists); choose another folder with --save",
    }.items():
        done = edgecat("watch", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    for arguments, part in {
        ("shots", "--gone", "0.9"): "gone no higher than appear",
        ("shots", "--save", "seen"): "of a folder's photos there are files already",
        ("0", "--recursive"): "there are no folders in a camera",
        (
            "shots",
            "--exec",
            "no-such-command {photo}",
        ): "'no-such-command' is no command that can be run",
        ("shots", "--exec", "echo 'a"): "No closing quotation",
    }.items():
        done = edgecat("watch", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert part in done.stderr
