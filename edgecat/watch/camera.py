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
