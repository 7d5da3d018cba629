"""`edgecat classify` in a shell: single lines, readers that leave, full disks, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real import CHELSEA, COFFEE, Run

COMMAND = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import edgecat.cli; edgecat.cli.main()",
]


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [*COMMAND, "classify", *map(str, arguments)]
    return subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture
def warm() -> Iterator[subprocess.Popen[str]]:
    """`edgecat classify - --json`, which waits for lines."""
    with started("-", "--json") as running:
        yield running
        running.kill()


def ask(running: subprocess.Popen[str], line: object) -> str:
    assert running.stdin
    assert running.stdout
    running.stdin.write(f"{line}\n")
    running.stdin.flush()
    return str(json.loads(running.stdout.readline())["label"])


def test_each_line_is_answered_at_once_by_one_process(
    warm: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert [ask(warm, photo) for photo in (CHELSEA, COFFEE, CHELSEA)] == ["cat", "neither", "cat"]
    shutil.copy(COFFEE, tmp_path / "a photo with spaces.jpg")
    assert ask(warm, tmp_path) == "neither"  # a folder
    assert ask(warm, tmp_path / "*.jpg") == "neither"
    assert warm.stdin
    warm.stdin.write("\nnone.jpg\n")  # an empty line is none
    printed, said = warm.communicate(timeout=20)
    assert (warm.returncode, printed, said) == (1, "", "edgecat: none.jpg: no such file\n")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_photo_of_any_format_is_told_from_names(edgecat: Run, tmp_path: Path, kind: str) -> None:
    from PIL import Image

    Image.open(CHELSEA).save(tmp_path / "photo", kind)
    done = edgecat("classify", "-", "--json", stdin=(tmp_path / "photo").read_bytes())
    assert json.loads(done.stdout)["label"] == "cat", done.stderr


def test_bytes_that_are_neither(edgecat: Run) -> None:
    done = edgecat("classify", "-", stdin=b"\x00\x01\x02 no photo\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: standard input: not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)\n"
    )


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    for number in range(40):
        shutil.copy(CHELSEA, tmp_path / f"{number}.jpg")
    for options in ([], ["--json"], ["--csv"]):
        with started(tmp_path, *options) as running:
            assert running.stdout
            assert running.stderr
            running.stdout.readline()
            running.stdout.close()  # as head -1 does
            assert running.stderr.read() == ""
        assert running.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"], ["--csv"]])
def test_a_full_disk(options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "classify", CHELSEA, COFFEE, *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: cannot be written (No space left on device); make room, or write elsewhere\n",
    )


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "edgecat: interrupted\n")],
)
def test_a_signal_in_the_middle_of_a_folder_keeps_what_was_printed(
    tmp_path: Path, sent: signal.Signals, status: int, said: str
) -> None:
    for number in range(3000):
        os.link(
            shutil.copy(CHELSEA, tmp_path / "0.jpg") if number == 0 else tmp_path / "0.jpg",
            tmp_path / f"{number:04}.jpg",
        )
    with started(tmp_path, "--csv") as running:
        assert running.stdout
        first = [running.stdout.readline() for _ in range(3)]
        running.send_signal(sent)
        rest, errors = running.communicate(timeout=20)
    assert (running.returncode, errors) == (status, said)
    rows = [*first, *rest.splitlines(keepends=True)]
    assert 3 <= len(rows) < 3000
    assert all(row.endswith("\n") and ",cat," in row for row in rows[1:])  # none is cut in two


def test_photos_that_vanish_or_break_while_others_are_classified(
    edgecat: Run, tmp_path: Path
) -> None:
    """Photos of the folder are gone or broken at their turn.

    They are named in their place, and the others are answered.
    """
    for number in range(8):
        shutil.copy(COFFEE if number % 2 else CHELSEA, tmp_path / f"{number}.jpg")
    (tmp_path / "2.jpg").write_bytes(CHELSEA.read_bytes()[:5000])
    (tmp_path / "5.jpg").unlink()
    (tmp_path / "5.jpg").symlink_to(tmp_path / "gone.jpg")
    names = [f"{number}.jpg" for number in range(8)]
    done = edgecat("classify", *names, "--json")
    assert done.returncode == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["photo"], answer["label"]) for answer in answers] == [
        (f"{number}.jpg", "neither" if number % 2 else "cat") for number in (0, 1, 3, 4, 6, 7)
    ]
    broken, gone = done.stderr.splitlines()
    assert broken.startswith("edgecat: 2.jpg: broken photo (")
    assert gone == "edgecat: 5.jpg: no such file"


def test_no_home_and_nothing_that_can_be_written(tmp_path: Path) -> None:
    """Classifying keeps nothing, so it needs no place for it."""
    nowhere = {
        key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")
    }
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    done = subprocess.run(
        [*COMMAND, "classify", CHELSEA],
        cwd=folder,
        env={**nowhere, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(folder.iterdir())


def test_without_typer_photos_are_classified_and_the_rest_says_what_to_install(
    tmp_path: Path,
) -> None:
    (tmp_path / "typer.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')"
    )
    without = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "classify", str(CHELSEA)],
        env=without,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [*COMMAND, "models"], env=without, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "edgecat: this command line needs 'typer'; install it with: pip install typer\n"
    )
