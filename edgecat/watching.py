"""Frames of a folder or a camera -> scores -> what appears and what goes, without flicker."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgecat.classifier import Classification, Classifier
from edgecat.errors import EdgecatError, ModelError, PhotoError
from edgecat.model_file import ModelCard
from edgecat.photo import SUFFIXES, Pixels

SETTLE = 0.5  # seconds that a new photo must stay as it is before it is read: it may still be being written
PATIENCE = 5.0  # seconds after which one that cannot be read is called broken
BUSY = 0.1  # share of the time that looking through a folder may take
NOTHING = "neither"
PICAMERA = "picamera2"
CAMERA_SIZE = (640, 480)  # pixels, (width, height): more than the models look at


class Frame(NamedTuple):
    """A picture of a folder or a camera."""

    name: str  # for people
    pixels: Pixels  # (height, width, 3) RGB, upright
    at: float  # seconds on a clock that only goes forward
    path: Path | None = None  # of the file that holds it, if one does


@dataclass(frozen=True)
class Hysteresis:
    """When something counts as there, and when as gone. What lies between changes nothing. Raises ValueError."""

    appear: float = 0.8  # score, 0..1, that lets it appear
    gone: float = 0.5  # below this score it is not seen
    appear_frames: int = 2  # so many frames in a row with `appear`
    gone_frames: int = 6  # so many frames in a row below `gone`
    forget: float = 60.0  # seconds unseen after which it is gone too, however few the frames

    def __post_init__(self) -> None:
        if not 0 < self.gone <= self.appear <= 1:
            raise ValueError(
                f"appear {self.appear:g} and gone {self.gone:g}, expected scores of 0 to 1, gone no higher than appear"
            )
        if min(self.appear_frames, self.gone_frames) < 1 or not self.forget > 0:
            raise ValueError("expected at least one frame, and more than 0 seconds")


class Change(NamedTuple):
    """Something appeared, or went."""

    label: str
    appeared: bool  # else it went
    score: (
        float | None
    )  # of the frame that decided it; None where it is gone for having been unseen too long


class Event(NamedTuple):
    """A change, and the frame that decided it, if one did."""

    change: Change
    frame: Frame | None


@dataclass
class _Sight:
    present: bool = False
    run: int = 0  # frames in a row that speak against it
    seen: float = -math.inf  # seconds


class Presence:
    """What is in sight, told frame by frame."""

    def __init__(self, labels: Iterable[str], hysteresis: Hysteresis | None = None) -> None:
        self.hysteresis = hysteresis or Hysteresis()
        self._sights = {label: _Sight() for label in labels}

    def step(self, scores: Mapping[str, float] | None, at: float) -> list[Change]:
        """What a frame's scores change, `at` seconds on a clock that only goes forward; None where time went by without a frame."""
        rule = self.hysteresis
        changes = []
        for label, sight in self._sights.items():
            if at - sight.seen > rule.forget:
                sight.run = 0
                if sight.present:
                    sight.present = False
                    changes.append(Change(label, False, None))
            if scores is None:
                continue
            score = scores[label]
            seen = score >= (rule.gone if sight.present else rule.appear)
            if seen:
                sight.seen = at
            sight.run = sight.run + 1 if seen != sight.present else 0
            if sight.run == (rule.gone_frames if sight.present else rule.appear_frames):
                sight.present, sight.run = seen, 0
                changes.append(Change(label, seen, score))
        return changes


def watch(
    classifier: Classifier,
    frames: Iterable[Frame | None],
    labels: Sequence[str] = (),
    hysteresis: Hysteresis | None = None,
) -> Generator[Event, None, None]:
    """What appears in `frames` and what goes, as it happens; a None among them says that there is none right now.

    `labels` may be labels or groups of the model; else they are cat and dog, or of a model without them all but "neither".
    Raises ModelError, and what `frames` raises.
    """
    presence = Presence(watched(classifier.card, labels), hysteresis)
    for frame in frames:
        if frame is None:
            changes = presence.step(None, time.monotonic())
        else:
            changes = presence.step(
                _scores(classifier.classify(frame.pixels), classifier.card), frame.at
            )
        for change in changes:
            yield Event(change, frame)


def watched(card: ModelCard, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels and groups to watch for. Raises ModelError."""
    groups = tuple(dict.fromkeys(card.groups.get(label, label) for label in card.labels))
    for label in labels:
        if label not in groups and label not in card.labels:
            raise ModelError(f"'{label}' is no label of this model; expected {', '.join(groups)}")
    return (
        tuple(labels)
        or tuple(group for group in groups if group in ("cat", "dog"))
        or tuple(group for group in groups if group != NOTHING)
    )


def _scores(result: Classification, card: ModelCard) -> dict[str, float]:
    """Of each label, and of each group the sum of its labels'."""
    sums: dict[str, float] = {}
    for label, score in result.scores:
        group = card.groups.get(label, label)
        sums[group] = sums.get(group, 0.0) + score
    return {**dict(result.scores), **sums}


# Folders. They are looked through again and again: file systems on a network tell nobody that a photo came.


def new_photos(
    folder: str | os.PathLike[str],
    read: Callable[[str], Pixels],
    *,
    every: float = 0.5,
    recursive: bool = False,
    on_error: Callable[[PhotoError], None] | None = None,
) -> Iterator[Frame | None]:
    """Photos that come into `folder` from now on, or change there, oldest first; None after each look, `every` seconds.

    A photo is read with `read`, such as Classifier.pixels, once it stays as it is. One that cannot be read raises PhotoError, or
    is handed to `on_error`. Raises EdgecatError where the folder goes away.
    """
    known = _look(folder, recursive)
    waiting: dict[str, tuple[_State, float]] = {}  # path -> how it is, and since when
    while True:
        now = time.monotonic()
        there = _look(folder, recursive)
        took = time.monotonic() - now
        known = {path: state for path, state in known.items() if path in there}
        waiting = {
            path: waiting[path] if path in waiting and waiting[path][0] == state else (state, now)
            for path, state in there.items()
            if known.get(path) != state
        }
        for path, (state, since) in sorted(waiting.items(), key=lambda item: (item[1][0], item[0])):
            if now - since < SETTLE:
                continue
            try:
                pixels = read(path)
            except PhotoError as error:
                if now - since < PATIENCE:
                    continue
                if on_error is None:
                    raise
                on_error(error)
            else:
                yield Frame(path, pixels, time.monotonic(), Path(path))
            known[path] = state
        yield None
        time.sleep(max(every, took / BUSY, 0.01))


class _State(NamedTuple):
    """What tells that a file is another than before."""

    modified: int  # nanoseconds
    size: int  # bytes
    inode: int


def _look(folder: str | os.PathLike[str], recursive: bool) -> dict[str, _State]:
    try:
        return dict(_photos(os.fspath(folder), recursive))
    except (FileNotFoundError, NotADirectoryError):
        raise EdgecatError(
            f"{folder}: no such folder; it was removed, or its drive is not there"
        ) from None
    except OSError as error:
        raise EdgecatError(
            f"{error.filename or folder}: cannot be looked through ({error.strerror})"
        ) from None


def _photos(folder: str, recursive: bool) -> Iterator[tuple[str, _State]]:
    """As photo.find_photos, with what scandir knows already: this runs twice a second for months."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if recursive and entry.is_dir(follow_symlinks=False):
                    yield from _photos(entry.path, recursive)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                    found = entry.stat()
                    yield entry.path, _State(found.st_mtime_ns, found.st_size, found.st_ino)
            except FileNotFoundError:  # went away meanwhile
                continue


# Cameras.


def camera_frames(camera: str, every: float = 0.5) -> Iterator[Frame]:
    """A frame each `every` seconds of a camera: its number or device, "picamera2", or the address of a stream; or of a video file.

    Raises EdgecatError where there is none, and when it is unplugged; a video ends.
    """
    return _picamera_frames(every) if camera == PICAMERA else _opencv_frames(camera, every)


def _opencv_frames(camera: str, every: float) -> Iterator[Frame]:
    for setting, quiet in (
        ("OPENCV_LOG_LEVEL", "OFF"),
        ("OPENCV_FFMPEG_LOGLEVEL", "-8"),
    ):  # what goes wrong is said below
        os.environ.setdefault(setting, quiet)
    cv2 = _library("cv2", "pip install 'edgecat[camera]'")
    video = Path(camera).is_file()
    capture = cv2.VideoCapture(int(camera) if camera.isdecimal() else camera)
    frames, due = 0, -math.inf
    try:
        if not capture.isOpened():
            raise EdgecatError(
                f"{camera}: cannot be opened as a camera or video; is it plugged in, and used by no other program?"
            )
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        while (
            capture.grab()
        ):  # all of them, so that a camera's queue holds nothing old; only what is due is decoded
            at = frames / rate if video else time.monotonic()
            frames += 1
            if at >= due:
                due = at + every
                _, pixels = capture.retrieve()
                yield Frame(
                    f"{camera} at {at:.1f} s" if video else f"camera {camera}",
                    cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB),
                    at,
                )
    finally:
        capture.release()
    if not video or not frames:
        raise EdgecatError(
            f"{camera}: gives no more pictures; was it unplugged?"
            if not video
            else f"{camera}: no picture in this video can be read"
        )


def _picamera_frames(every: float) -> Iterator[Frame]:
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    library = _library(
        PICAMERA,
        "sudo apt install python3-picamera2, for an environment made with --system-site-packages",
    )
    try:
        camera = library.Picamera2()
        camera.configure(
            camera.create_video_configuration(main={"size": CAMERA_SIZE, "format": "BGR888"})
        )  # picamera2's name for RGB arrays
        camera.start()
    except (IndexError, RuntimeError) as error:
        raise EdgecatError(
            f"{PICAMERA}: no camera ({error}); is its cable in, and is it used by no other program?"
        ) from None
    try:
        while True:
            began = time.monotonic()
            yield Frame(f"camera {PICAMERA}", _captured(camera), began)
            time.sleep(max(0.0, every - (time.monotonic() - began)))
    finally:
        camera.close()


def _captured(camera: Any) -> Pixels:
    try:
        pixels: Pixels = camera.capture_array("main")
    except (RuntimeError, OSError) as error:
        raise EdgecatError(
            f"{PICAMERA}: gives no more pictures ({error}); is its cable in?"
        ) from None
    return pixels


def _library(name: str, install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise EdgecatError(
            f"watching a camera needs '{name}'; install it with: {install}"
        ) from None
    except ImportError as error:
        raise EdgecatError(
            f"'{name}' cannot be imported ({error}); install it anew with: {install}"
        ) from None
