"""`edgecat export` of damaged files, and on machines in trouble."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from real import CHELSEA, COFFEE, ROOT, Run

from edgecat import read_card

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras
]
MOBILENET = ROOT / "export" / "edgecat_export" / "checkpoints" / "mobilenet.keras"
RUN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import edgecat.cli; edgecat.cli.main()",
    "export",
]


def test_files_that_are_no_whole_keras_file(edgecat: Run, tmp_path: Path) -> None:
    expected = "expected a .keras that 'edgecat train' or model.save('NAME.keras') wrote\n"
    whole = MOBILENET.read_bytes()
    cut = tmp_path / "cut.keras"
    for length in (5, 1000, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        cut.write_bytes(whole[:length])
        done = edgecat("export", "cut.keras")
        assert (done.returncode, done.stderr) == (
            1,
            "edgecat: cut.keras: damaged or cut short; copy it or train again\n",
        ), length
    cut.write_bytes(whole[:100_000] + bytes([whole[100_000] ^ 1]) + whole[100_001:])
    assert edgecat("export", "cut.keras").stderr.startswith("edgecat: cut.keras: damaged")
    for name, content in (
        ("empty.keras", b""),
        ("text.keras", b"no model"),
        ("model.h5", b"\x89HDF\r\n\x1a\n"),
    ):
        (tmp_path / name).write_bytes(content)
        assert edgecat("export", name).stderr == f"edgecat: {name}: no Keras file; {expected}"
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "a zip of something else")
    assert (
        edgecat("export", "other.keras").stderr
        == f"edgecat: other.keras: a zip, but no Keras file; {expected}"
    )
    assert (
        edgecat("export", "none.keras").stderr
        == f"edgecat: none.keras: no such model file; {expected}"
    )
    with (
        zipfile.ZipFile(tmp_path / "torn.keras", "w") as archive,
        zipfile.ZipFile(MOBILENET) as source,
    ):
        for name in source.namelist():  # the weights themselves cut short
            archive.writestr(name, source.read(name)[: 500_000 if name.endswith(".h5") else None])
    done = edgecat("export", "torn.keras", "--fp32")
    assert done.returncode == 1
    assert "torn.keras: Keras 3." in done.stderr
    assert "cannot load this file" in done.stderr


def test_a_folder_that_cannot_be_written_is_seen_before_the_work(
    edgecat: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in ("file", "file/below", "/proc/none/below"):
        began = time.monotonic()
        done = edgecat("export", "mobilenet", "--out", out)
        assert done.returncode == 1
        assert done.stderr.startswith(f"edgecat: {out}: cannot be written to (")
        assert done.stderr.endswith("); give another folder with --out\n")
        assert done.stderr.count("\n") == 1
        assert time.monotonic() - began < 10
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk(tmp_path: Path) -> None:
    """No file may grow past 3 MB, in the child neither; the model is to have 3.3."""
    (tmp_path / "temporary").mkdir()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    done = subprocess.run(
        [*RUN, "mobilenet", "--fp32", "--format", "onnx", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )
    assert done.returncode == 1
    advice = (
        f"no room for temporary files in {tmp_path}/temporary (File too large); "
        "make some, or set TMPDIR to a folder with room"
    )
    assert (
        done.stderr.splitlines()[-1]
        == f"edgecat: mobilenet-fp32.onnx: converting to fp32 onnx: {advice}"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_in_the_output_folder(edgecat: Run, small_disk: Path) -> None:
    (small_disk / "mobilenet-int8.onnx").write_bytes(b"")
    done = edgecat("export", "mobilenet", "--int8", "--format", "onnx", "--out", "disk", "--force")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "edgecat: disk/mobilenet-int8.onnx: cannot be written (No space left on device); "
        "make room, or give another folder with --out"
    )
    assert [(path.name, path.stat().st_size) for path in small_disk.iterdir()] == [
        ("mobilenet-int8.onnx", 0)
    ]


def test_a_full_disk_for_temporary_files(edgecat: Run, small_disk: Path, tmp_path: Path) -> None:
    for label, photo in (("cat", CHELSEA), ("neither", COFFEE)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        with Image.open(photo) as whole:
            for number in range(3):
                whole.crop((number, 0, whole.width, whole.height)).save(
                    tmp_path / "photos" / label / f"{number}.jpg"
                )
    done = edgecat("export", "mobilenet", "--int8", "--data", "photos", TMPDIR=str(small_disk))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"edgecat: exporting: no room for temporary files in {small_disk} "
        "(No space left on device); make some, or set TMPDIR to a folder with room"
    )
    assert not list(small_disk.iterdir())


def children(pid: int) -> dict[int, str]:
    """Process id -> command line."""
    found = (Path(f"/proc/{pid}/task/{pid}/children")).read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in found}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("said", ["no --data", "making inputs"])
@pytest.mark.parametrize(
    ("whom", "how", "status", "last"),
    [
        ("group", signal.SIGINT, 130, None),
        ("parent", signal.SIGINT, 130, None),
        ("parent", signal.SIGKILL, -signal.SIGKILL, None),
        (
            "child",
            signal.SIGKILL,
            1,
            "edgecat: the conversion was killed, most likely by the system: "
            "it needs more memory than there is, about 2.5 GB; ",
        ),
    ],
)
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, whom: str, how: signal.Signals, status: int, last: str | None, said: str
) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "mobilenet-fp32.onnx").write_text("earlier")
    process = subprocess.Popen(
        [*RUN, "mobilenet", "--fp32", "--format", "onnx", "--force", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith(said):
        pass
    time.sleep(0.5)
    [child] = [pid for pid, command in children(process.pid).items() if "spawn_main" in command]
    if whom == "group":
        os.killpg(process.pid, how)
    else:
        os.kill(process.pid if whom == "parent" else child, how)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == status, rest
    assert "Traceback" not in rest
    if last is not None:
        assert rest.splitlines()[-1].startswith(last)
    until = time.monotonic() + 20
    while (
        Path(f"/proc/{child}").exists() or list((tmp_path / "temporary").iterdir())
    ) and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
    assert not list((tmp_path / "temporary").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"temporary", "mobilenet-fp32.onnx"}
    assert (tmp_path / "mobilenet-fp32.onnx").read_text() == "earlier"


def test_exporting_in_process_gives_the_memory_back(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from edgecat_export.pipeline import Request, export
def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6
import edgecat_export.verify, edgecat.engines.litert
before = resident()
export(Request(Path({str(MOBILENET)!r}), Path('.'), ['int8'], ['tflite']))
print(resident() - before)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads /proc")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert float(done.stdout) < 50  # MB; Keras and a converter take more than a thousand


def test_the_same_checkpoint_gives_the_same_bytes_and_the_card_says_how(
    edgecat: Run, exported: Path, tmp_path: Path
) -> None:
    assert edgecat("export", "mobilenet", "--fp32", "--int8", "--fp16").returncode == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 6
    for name in files:
        assert (exported / name).read_bytes() == (tmp_path / name).read_bytes(), name
        path = tmp_path / name
        card = read_card(path)
        assert card.made_by == {
            "command": f"edgecat export mobilenet --{card.precision} --format {path.suffix[1:]}",
            "checkpoint": "mobilenet.keras",
            "sha256": hashlib.sha256(MOBILENET.read_bytes()).hexdigest(),
        }
        assert str(tmp_path) not in card.to_json()
