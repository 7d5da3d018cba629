"""The typer app and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecat.cli import classify, export, training

app = typer.Typer(
    help="Is there a cat or a dog in this photo? Classify photos without the cloud; train, export and verify the classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(classify.classify)
app.command()(training.train)
app.command()(export.export)


@app.callback()
def root(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"edgecat {installed('edgecat')}")
        raise typer.Exit
