"""The typer app and its commands."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

# In the order of --help. Each is a function of that name in the module edgecat.cli.NAME.
COMMANDS = (
    "classify",
    "watch",
    "evaluate",
    "bench",
    "report",
    "serve",
    "train",
    "export",
    "models",
    "info",
    "label",
)


def app_of(words: list[str]) -> typer.Typer:
    """Return an app with the command that `words` names or, for --help and mistakes, with all."""
    app = typer.Typer(
        help="Is there a cat or a dog in this photo? Classify photos without the cloud; "
        "train, export and verify the classifier.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    named = [word for word in words[:1] if word in COMMANDS]
    for name in named or COMMANDS:
        app.command(name)(getattr(import_module(f"edgecat.cli.{name}"), name))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"edgecat {version('edgecat')}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    pass
