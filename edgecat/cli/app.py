"""The typer app and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecat.cli import bench, classify, evaluate, export, info, label, models, report, serve, training

app = typer.Typer(
    help="Is there a cat or a dog in this photo? Classify photos without the cloud; train, export and verify the classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(classify.classify)
app.command()(evaluate.evaluate)
app.command()(bench.bench)
app.command()(report.report)
app.command()(serve.serve)
app.command()(training.train)
app.command()(export.export)
app.command()(models.models)
app.command()(info.info)
app.command()(label.label)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"edgecat {version('edgecat')}")
        raise typer.Exit


@app.callback()
def root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")] = False) -> None:
    pass
