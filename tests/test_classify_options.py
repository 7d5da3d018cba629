"""`edgecat classify` reads its options without typer, and as typer does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecat.cli import classifying
from edgecat.cli.declarations import Option

OPTIONS = ("-m", "-r", "--json", "--csv", "--engine", "--device", "--threads", "--top")
JOINED = ("-mx.onnx", "-m=x", "-rm", "-r=1", "--model=x.onnx", "--model=", "--json=1", "--top=3")
VALUES = ("a.jpg", "-", "", "1", "0", "0.5", "nan", " 2", "-1", "-x y", "ä=b")
OTHERS = ("--", "--js", "--labels", "--logits", "--help", "-h", "--threshold", "--recursive")
ReadByTyper = Callable[[Sequence[str]], "dict[str, Any] | None"]


@pytest.fixture(scope="module")
def read_by_typer() -> ReadByTyper:
    """Return the arguments that typer calls `classify` with, or None for a mistake or --help."""
    typer = pytest.importorskip("typer")
    from edgecat.cli.app import app_of

    app = typer.main.get_command(app_of(["classify"]))

    def read(words: Sequence[str]) -> dict[str, Any] | None:
        calls: list[dict[str, Any]] = []

        def called(photos: list[str], **options: Any) -> None:
            calls.append({"photos": photos, **options})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(classifying, "classify", called)
            try:
                app.main(["classify", *words], standalone_mode=False)
            except Exception:  # a mistake, of a class that typer keeps private
                return None
        return calls[0] if calls else None

    return read


@settings(max_examples=600, deadline=None)
@given(words=st.lists(st.sampled_from(OPTIONS + JOINED + VALUES + OTHERS), max_size=6))
def test_what_is_read_without_typer_is_what_typer_reads(
    read_by_typer: ReadByTyper, words: list[str]
) -> None:
    arguments = classifying.parse(words)
    if arguments is not None:
        defaults = read_by_typer(["a.jpg"])
        assert defaults is not None
        assert read_by_typer(words) == defaults | arguments


@pytest.mark.parametrize("option", classifying.OPTIONS, ids=lambda option: option.parameter)
def test_each_option_is_read_without_typer(option: Option, read_by_typer: ReadByTyper) -> None:
    for flag in option.flags:
        words = ["a.jpg", flag] if option.kind is None else [flag, "1", "a.jpg"]
        arguments = classifying.parse(words)
        value = True if option.kind is None else option.kind("1")
        assert arguments == {"photos": ["a.jpg"], option.parameter: value}
        typers = read_by_typer(words)
        assert typers is not None
        assert typers[option.parameter] == value
        if option.minimum is not None:
            assert classifying.parse([flag, str(option.minimum), "a.jpg"]) is not None
            assert classifying.parse([flag, str(option.minimum - 1), "a.jpg"]) is None
        if option.maximum is not None:
            assert classifying.parse([flag, str(option.maximum + 1), "a.jpg"]) is None


def test_what_typer_must_read() -> None:
    parse = classifying.parse
    assert parse(["a.jpg", "-", "--json", "-m", "x.onnx"]) == {
        "photos": ["a.jpg", "-"],
        "as_json": True,
        "model": Path("x.onnx"),
    }
    for words in (
        [],
        ["--help"],
        ["a.jpg", "--labels", "x"],
        ["a.jpg", "--threads"],
        ["a.jpg", "--threads", "two"],
        ["a.jpg", "--json=1"],
        ["a.jpg", "--js"],
        ["a.jpg", "-m=x"],
        ["--", "-a.jpg"],
        ["-a b.jpg"],
        ["a.jpg", "--json", "--csv"],
        ["a.jpg", "--threshold", "nan"],
    ):
        assert parse(words) is None, words
