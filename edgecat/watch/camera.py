"""Frames from a camera, a stream or a video file."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecat.errors import EdgecatError
from edgecat.photo import Pixels
from edgecat.watch.frame import Frame

PICAMERA = "picamera2"
CAMERA_SIZE = (640, 480)  # pixels, (width, height): more than the models use
VIDEO_RATE = 25.0  # frames a second of a video that does not state its own


def camera_frames(camera: str, every: float = 0.5) -> Iterator[Frame]:
    """Yield a frame every `every` seconds.

    `camera` is a camera's number or device, "picamera2", the address of a stream, or a video file.
    Raise EdgecatError if it cannot be opened, and when a camera or stream stops. A video ends.
    """
    return _picamera_frames(every) if camera == PICAMERA else _opencv_frames(camera, every)


def _opencv_frames(camera: str, every: float) -> Iterator[Frame]:
    # OpenCV's own messages off; errors are raised below.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = _library("cv2", "pip install 'edgecat[camera]'")
    video = Path(camera).is_file()
    capture = cv2.VideoCapture(int(camera) if camera.isdecimal() else camera)
    grabbed, due = 0, -math.inf
    try:
        if not capture.isOpened():
            raise EdgecatError(
                f"{camera}: cannot be opened as a camera or video; "
                "is it plugged in, and used by no other program?"
            )
        rate = capture.get(cv2.CAP_PROP_FPS) or VIDEO_RATE
        # Grab every frame, so that a camera's queue holds no old ones; decode only those due.
        while capture.grab():
            at = grabbed / rate if video else time.monotonic()
            grabbed += 1
            if at < due:
                continue
            decoded, pixels = capture.retrieve()
            if not decoded:  # a damaged frame; the next one takes its place
                continue
            due = at + every
            name = f"{camera} at {at:.1f} s" if video else f"camera {camera}"
            yield Frame(name, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), at)
    finally:
        capture.release()
    if not video:
        raise EdgecatError(f"{camera}: gives no more pictures; was it unplugged?")
    if not grabbed:
        raise EdgecatError(f"{camera}: no picture in this video can be read")


def _picamera_frames(every: float) -> Iterator[Frame]:
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    library = _library(
        PICAMERA,
        "sudo apt install python3-picamera2, for an environment made with --system-site-packages",
    )
    try:
        camera = library.Picamera2()
        main = {"size": CAMERA_SIZE, "format": "BGR888"}  # picamera2's name for RGB arrays
        camera.configure(camera.create_video_configuration(main=main))
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
            f"'{name}' cannot be imported ({error}); install it again with: {install}"
        ) from None
