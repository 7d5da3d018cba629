"""`edgecat watch FOLDER`: events, commands, signals, misuse."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real import CHELSEA, COFFEE, SAYS_WHEN_IT_WATCHES, Run, killed_after

from edgecat import (
    classify,
)

SCORE = classify(CHELSEA).score
SHOWN = f"{SCORE:.1%}"


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
