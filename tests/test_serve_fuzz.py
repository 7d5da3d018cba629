"""`edgecat serve` against random requests: from its OpenAPI description, and damaged ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import mutants
import pytest

if importlib.util.find_spec("schemathesis") is None:
    pytest.skip("needs edgecat[dev]", allow_module_level=True)

import described
from vision_server import KEY, Process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A process of its own, as the tests' own takes warnings for errors."""
    with Process(stderr=tmp_path_factory.mktemp("serve") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(stderr=tmp_path_factory.mktemp("serve") / "log", EDGECAT_API_KEY=KEY) as running:
        yield running


OPERATIONS = (
    "POST /v1/images:annotate",
    "POST /v1/classify",
    "GET /v1/model",
    "GET /healthz",
    "GET /metrics",
    "GET /",
)


@pytest.mark.parametrize("right", [True, False], ids=["as described", "otherwise"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("key", ["", KEY], ids=["without a key", "with a key"])
def test_answers_are_as_the_description_says(
    server: Process, guarded: Process, key: str, operation: str, right: bool
) -> None:
    running = guarded if key else server
    described.check(running.address, operation, right, examples=20, key=key)


def test_damaged_requests_get_an_answer(server: Process) -> None:
    codes = mutants.send(server.port, seed=1, count=600)
    assert codes[200] > 150
    assert codes[400] > 100
    assert codes[415] > 5
    assert sum(codes.values()) == 600
