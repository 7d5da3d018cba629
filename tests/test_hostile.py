"""Input that nobody sends on purpose, and answers in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from real import CHELSEA, Run

from edgecat import Classifier, EdgecatError, ModelCard, ModelError
from edgecat.files import may_replace, whole_file
from edgecat.models import DEFAULT_MODEL

COMMAND = "import edgecat.cli; edgecat.cli.main()"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_wait_for_a_line(number: signal.Signals, status: int) -> None:
    program = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {COMMAND}"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "classify", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{CHELSEA}\n".encode())
    process.stdin.flush()
    assert b"cat" in process.stdout.readline()  # and the next line never comes
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    assert b"Fatal" not in errors


def test_a_name_that_is_too_long_fails_alone(edgecat: Run) -> None:
    done = edgecat("classify", "a" * 300 + ".jpg", CHELSEA)
    assert done.returncode == 1
    assert done.stderr.endswith(".jpg: cannot be read (File name too long)\n")
    assert done.stdout.startswith(str(CHELSEA))


def test_a_closed_standard_input() -> None:
    done = subprocess.run(
        f'"{sys.executable}" -c "{COMMAND}" classify - <&-',
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "standard input: closed, expected a photo, or names of photos, one a line"
    assert (done.returncode, done.stderr) == (1, f"edgecat: {expected}\n")


def test_more_threads_than_any_machine_has(edgecat: Run) -> None:
    done = edgecat("classify", CHELSEA, "--threads", 2**31)
    assert (done.returncode, done.stdout) == (2, "")
    assert "less than or equal to 256" in done.stderr


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 5])
def test_a_threshold_that_no_score_can_have(threshold: float) -> None:
    with pytest.raises(EdgecatError, match=r"threshold .*, expected a score from 0 to 1"):
        Classifier(threshold=threshold)


def card_with(**changes: object) -> str:
    with zipfile.ZipFile(DEFAULT_MODEL) as archive:
        return json.dumps({**json.loads(archive.read("edgecat.json")), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        card_with(labels="abc"),
        card_with(labels=[1, 2, 3]),
        card_with(labels=[["cat"], "dog", "neither"]),
        card_with(labels=["cat", "cat", "dog"]),
        card_with(groups=None),
        card_with(groups=["cat"]),
        card_with(groups={"cat": []}),
        card_with(evaluation="y"),
        card_with(calibration=3),
    ],
    ids=lambda text: text[:40],
)
def test_a_card_with_the_wrong_kinds(text: str) -> None:
    with pytest.raises(ModelError, match=r"its model card cannot be read"):
        ModelCard.from_json(text, "model.tflite")


def test_a_file_is_written_through_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("before")
    link.symlink_to(target)
    with whole_file(link) as part:
        part.write_text("after")
    assert (link.is_symlink(), target.read_text()) == (True, "after")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_to_nothing_is_a_file_of_the_users(tmp_path: Path) -> None:
    link = tmp_path / "link.tflite"
    link.symlink_to(tmp_path / "away.tflite")
    with pytest.raises(EdgecatError, match="exists and was not made by"):
        may_replace(link, False, lambda path: False, "edgecat label")


def test_a_host_that_is_no_name() -> None:
    pytest.importorskip("uvicorn", reason="needs edgecat[serve]")
    from edgecat.server.run import listen

    for host in ("a" * 70, "é..x"):
        with pytest.raises(EdgecatError, match="no address of this machine"):
            listen(host, 0)


@pytest.mark.parametrize("content", ["[]", "null", '{"training": 5}', '{"training": {"new": 1}}'])
def test_a_run_that_cannot_be_read(edgecat: Run, tmp_path: Path, content: str) -> None:
    pytest.importorskip("keras", reason="needs edgecat[export]")
    from edgecat_export.training.run_folder import RunFolder

    from edgecat import DataError

    (tmp_path / "training.json").write_text(content)
    with pytest.raises(DataError, match="no run to resume"):
        RunFolder(tmp_path).read_options()


def test_a_run_in_a_folder_of_someone_else(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs edgecat[export]")
    from edgecat_export.training.run_folder import RunFolder

    from edgecat import DataError

    (tmp_path / "labels.txt").write_text("mine\n")
    with pytest.raises(DataError, match=r"holds labels\.txt, which 'edgecat train' did not write"):
        RunFolder(tmp_path).create()
    for name in ("labels.txt", "labels.txt/run"):
        with pytest.raises(DataError, match="cannot be made"):
            RunFolder(tmp_path / name).create()
    assert (tmp_path / "labels.txt").read_text() == "mine\n"
    assert os.listdir(tmp_path) == ["labels.txt"]
    (tmp_path / "last.keras").write_bytes(b"PK cut")
    with pytest.raises(DataError, match="damaged, its epochs cannot be read"):
        RunFolder(tmp_path).read_history()
