"""Presence without flicker, and photos that come into a folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real import CHELSEA, COFFEE

from edgecat import (
    Classifier,
    EdgecatError,
    InputRecipe,
    ModelError,
    PhotoError,
    read_pixels,
)
from edgecat.photo import Pixels
from edgecat.watch import folder as watching
from edgecat.watch.events import watch, watched
from edgecat.watch.folder import new_photos
from edgecat.watch.frame import Frame
from edgecat.watch.presence import Hysteresis, Presence


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
