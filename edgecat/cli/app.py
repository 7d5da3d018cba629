"""The typer app and its commands."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

# command -> its module of edgecat.cli, and the function there; in the order of --help
COMMANDS = {
    "classify": ("classify", "classify"),
    "watch": ("watch", "watch"),
    "evaluate": ("evaluate", "evaluate"),
    "bench": ("bench", "bench"),
    "report": ("report", "report"),
    "serve": ("serve", "serve"),
    "train": ("train", "train"),
    "export": ("export", "export"),
    "models": ("models", "models"),
    "info": ("info", "info"),
    "label": ("label", "label"),
}


def app_of(words: list[str]) -> typer.Typer:
    """An app that runs this command line: with the command that it names or, for --help and mistakes, with all."""
    app = typer.Typer(
        help="Is there a cat or a dog in this photo? Classify photos without the cloud; train, export and verify the classifier.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name in words[:1] if words[:1] and words[0] in COMMANDS else COMMANDS:
        module, function = COMMANDS[name]
        app.command(name)(getattr(import_module(f"edgecat.cli.{module}"), function))
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
