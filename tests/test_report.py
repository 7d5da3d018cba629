"""`edgecat report`: one page that needs nothing beside it, with the numbers of report.json."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from real import CHELSEA, COFFEE, Run
from reported import CLOUD, HISTORY, Page, put

from edgecat.engines import cores
from edgecat.errors import DataError
from edgecat.models import DEFAULT_MODEL
from edgecat.report.page import THUMBNAIL, made_here
from edgecat.report.records import read_records

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs edgecat[plots]"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of the default model, twice, and of a record from elsewhere."""
    folder = tmp_path_factory.mktemp("report")
    put(CHELSEA, folder / "album/cats/a.jpg", folder / "album/cats/b.jpg")
    put(COFFEE, folder / "album/cats/<b>.jpg", folder / "album/neither/c.jpg")
    put(CHELSEA, folder / "album/dogs/<script>alert(1)<&>.jpg")
    put(DEFAULT_MODEL, folder / "models/$a_{$<i>|.tflite")
    (folder / "cloud.jsonl").write_text("\n" + json.dumps(CLOUD) + "\n")
    arguments = [
        "report",
        f"{folder}/album",
        "--model",
        "models",
        "--evaluation",
        "cloud.jsonl",
        "--history",
        str(HISTORY),
    ]
    command = [sys.executable, "-c", "import edgecat.cli; edgecat.cli.main()", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "report.html\n", "")
    return folder


@pytest.fixture(scope="module")
def page(made: Path) -> Page:
    return Page((made / "report.html").read_text())


def test_every_number_of_the_table_is_that_of_the_json(made: Path, page: Page) -> None:
    record = json.loads((made / "report.json").read_text())
    wanted = []
    for system in record["systems"]:
        shares = [
            system["accuracy"],
            *(
                system["classes"][label]["accuracy"]
                for label in ("cat", "dog", "neither")
                if label in system["classes"]
            ),
        ]
        shares += [system["balanced_accuracy"], system["calibration_error"]]
        row = [(share, f"{share:.2%}") for share in shares]
        if not system["needs_network"]:
            row.append((system["file_bytes"], f"{system['file_bytes'] / 1e6:.2f} MB"))
            row += [
                (system["latency_ms"][part], f"{system['latency_ms'][part]:.2f} ms")
                for part in ("photo", "engine")
            ]
        cost = system["cost_of_a_million_usd"]
        wanted.append(
            [*row, (cost, f"${cost:,.2f}"), (system["photos"], f"{system['photos']} photos")]
        )
    for claim in record["claims"]:
        wanted.append(
            [
                (share, f"{share:.0%}")
                for share in (claim["accuracy"], *claim["classes"].values())
                if share is not None
            ]
        )
    shown = [[(float(value), text) for value, text in row] for row in page.rows if row]
    assert shown == [row for row in wanted if row]
    assert len(record["claims"]) == 5
    for system in record["systems"]:
        low, high = system["accuracy_interval"]
        assert f"{low * 100:.1f} to {high:.1%}" in page.words


def test_what_was_measured(made: Path) -> None:
    record = json.loads((made / "report.json").read_text())
    shipped, copy, cloud = record["systems"]
    assert shipped["model"] == "catdog-int8.tflite"
    assert shipped["accuracy"] == 0.6
    assert shipped["data"] == ["album"]
    assert (copy["classes"], copy["mistakes"]) == (shipped["classes"], 2)
    for local in (shipped, copy):
        assert (local["cost_of_a_million_usd"], local["needs_network"]) == (0, False)
        assert local["latency_ms"]["measurements"] == 50
        assert 0 < local["latency_ms"]["engine"] < local["latency_ms"]["photo"]
    assert cloud == {
        **CLOUD,
        "latency_ms": None,
        "cost_of_a_million_usd": 1498.5,
        "needs_network": True,
    }
    assert (
        record["made_by"]["command"]
        == "edgecat report album --model models --evaluation cloud.jsonl --history mobilenet"
    )
    assert record["made_by"]["machine"]["cores"] == cores()


def test_the_page_refers_to_no_address_and_runs_nothing(made: Path, page: Page) -> None:
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "b", "i", "a"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("href", "srcset", "action", "style")
            assert not name.startswith("on")
            assert name != "src" or (value or "").startswith(
                ("data:image/svg+xml;base64,", "data:image/jpeg;base64,")
            )
    beside_images = re.sub(r'src="data:[^"]*"', "", (made / "report.html").read_text())
    assert not re.search(r"//|url\(|@import", beside_images)
    assert str(made) not in beside_images


def test_plots_and_thumbnails_are_images_and_say_what_they_show(page: Page) -> None:
    plots = [image for image in page.images() if image.get("class") == "plot"]
    photos = [image for image in page.images() if image.get("class") != "plot"]
    assert len(plots) == 1 + 2 * 3 + 1
    for image in plots:
        drawn = base64.b64decode((image["src"] or "").partition(",")[2]).decode()
        assert "<svg" in drawn
        assert not re.search(r'(href|src)="(?!#|data:)', drawn)
    assert any("cat: 2 cat, 0 dog, 1 neither" in (image["alt"] or "") for image in plots)
    shown = sorted(
        str(image["alt"]) for image in photos
    )  # of two systems: the record from elsewhere has no photo shown
    assert shown == ["cats/<b>.jpg"] * 2 + ["dogs/<script>alert(1)<&>.jpg"] * 2
    for image in photos:
        thumbnail = Image.open(io.BytesIO(base64.b64decode((image["src"] or "").partition(",")[2])))
        assert max(thumbnail.size) == THUMBNAIL


def test_markdown_has_the_same_table(made: Path, page: Page) -> None:
    lines = (made / "report.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 2 + 3 + 5
    assert {len(re.split(r"(?<!\\)\|", line)) for line in table} == {
        len(re.split(r"(?<!\\)\|", table[0]))
    }
    numbers = [text for row in page.rows for _, text in row]
    assert numbers == [
        text
        for line in table
        for text in re.findall(r"(?<=\| )(?:\$[\d.,]+|[\d.,]+(?:%| MB| ms| photos))", line)
    ]
    assert "$a\\_{$&lt;i&gt;\\|.tflite" in table[3]
    assert any("edgecat evaluate pets --json" in line for line in lines)


def test_it_replaces_its_own_files_only(edgecat: Run, made: Path) -> None:
    for name in ("report.html", "report.md", "report.json"):
        assert made_here(made / name)
        copy = made / f"theirs{Path(name).suffix}"
        copy.write_text("mine")
        done = edgecat("report", made / "album", "--out", made / "theirs.html")
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr
            == f"edgecat: {copy}: not made by edgecat report; give another --out or --force\n"
        )
        assert copy.read_text() == "mine"
        copy.unlink()
    (made / "theirs.md").write_text("mine")
    before = sorted(made.iterdir())
    assert (
        edgecat(
            "report", f"cat={made / 'album/cats'}", "--out", made / "theirs.html", "--force"
        ).returncode
        == 0
    )
    assert sorted({*made.iterdir()} - {*before}) == [made / "theirs.html", made / "theirs.json"]
    assert made_here(made / "theirs.md")


def test_groups_are_shown_judged_in_each_way(made: Path, edgecat: Run) -> None:
    ways = {
        "sums": {"cat": 1.0, "dog": 0.99},
        "sums among cat, dog": {"cat": 0.5, "dog": 0.7},
        "best label": {"cat": 0.25, "dog": 0.35},
    }
    (made / "grouped.jsonl").write_text(json.dumps({**CLOUD, "ways": ways}))
    assert (
        edgecat(
            "report",
            made / "album",
            "--evaluation",
            made / "grouped.jsonl",
            "--out",
            made / "grouped.html",
        ).returncode
        == 0
    )
    rows = [
        [text for _, text in row] for row in Page((made / "grouped.html").read_text()).rows if row
    ]
    assert rows[2:4] == [["60.00%", "50.00%", "70.00%"], ["30.00%", "25.00%", "35.00%"]]
    headings, *lines = [
        line for line in (made / "grouped.md").read_text().splitlines() if line.startswith("| ")
    ]
    assert [line.split(" | ")[0] for line in lines[3:5]] == [
        "| 2. by sums among cat, dog",
        "| 2. by best label",
    ]
    assert {line.count(" | ") for line in lines} == {headings.count(" | ")}
    (made / "wrong.jsonl").write_text(
        json.dumps({**CLOUD, "ways": {"best label": {"cat": 0.25, "dog": 35}}})
    )
    with pytest.raises(DataError, match="'dog' is not a number from 0 to 1"):
        list(read_records(made / "wrong.jsonl"))


def test_a_full_disk_and_ctrl_c_leave_the_files_as_they_were(
    edgecat: Run, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "album", tmp_path / "album")
    for suffix in (".html", ".md", ".json"):
        shutil.copy((made / "report").with_suffix(suffix), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import "
        "edgecat.cli; edgecat.cli.main()"
    )
    command = [sys.executable, "-c", code, "report", "album"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "edgecat: report.html: cannot be written (File too large); give another --out"
        in done.stderr
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for i in range(3000):
        shutil.copy(CHELSEA, tmp_path / f"album/cats/{i}.jpg")
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        time.sleep(4)  # of some twenty seconds
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob(".edgecat*"))


def test_models_of_one_name_are_told_apart(edgecat: Run, made: Path) -> None:
    put(DEFAULT_MODEL, made / "a/same.tflite", made / "b/same.tflite")
    assert (
        edgecat(
            "report",
            made / "album",
            "--model",
            made / "a",
            "--model",
            made / "b",
            "--out",
            made / "same.html",
        ).returncode
        == 0
    )
    names = [system["model"] for system in json.loads((made / "same.json").read_text())["systems"]]
    assert len({*names}) == 3
    assert [Path(name).parts[-2:] for name in names[1:]] == [
        ("a", "same.tflite"),
        ("b", "same.tflite"),
    ]
