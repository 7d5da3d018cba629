"""The options that tell what a model of another maker does not say of itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from edgecat.foreign.description import Description, parse_resize

_PANEL = "Models that edgecat did not make"


Labels = Annotated[
    str | None,
    typer.Option(
        help="A label file, or cat,dog,… in the order of the outputs.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="The model reads (pixel - MEAN) / STD, pixel in 0..255; one number, or R,G,B.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Std = Annotated[
    str | None, typer.Option(help="See --mean.", show_default=False, rich_help_panel=_PANEL)
]
Resize = Annotated[
    str | None,
    typer.Option(
        metavar="squash|crop|crop:SHARE",
        help="The whole photo, or the middle of it, "
        "of whose shorter side crop:0.875 keeps that share (timm's crop_pct).",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="Pixels, or HEIGHTxWIDTH, where the model takes photos of any size.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Logits = Annotated[
    bool | None,
    typer.Option(
        "--logits/--probabilities",
        help="Whether the outputs still need a softmax.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


def describing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a typer command these options in the place of its parameter `description`."""
    options = inspect.signature(described, eval_str=True).parameters
    asked = inspect.signature(command, eval_str=True)

    @wraps(command)
    def with_options(**given: Any) -> None:
        command(description=described(**{name: given.pop(name) for name in options}), **given)

    parameters = [
        option
        for parameter in asked.parameters.values()
        for option in (options.values() if parameter.name == "description" else (parameter,))
    ]
    with_options.__signature__ = asked.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {
        parameter.name: parameter.annotation for parameter in parameters
    }
    return with_options


def described(
    labels: Labels = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    size: Size = None,
    logits: Logits = None,
) -> Description | None:
    """The options as one record, None where none was given."""
    if all(option is None for option in (labels, mean, std, resize, size, logits)):
        return None
    if resize is not None:
        try:
            parse_resize(resize)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--resize") from None
    if size is not None and not re.fullmatch(r"\d+(x\d+)?", size):
        raise typer.BadParameter(
            f"'{size}', expected pixels, such as 224, or HEIGHTxWIDTH", param_hint="--size"
        )
    pixels = None if size is None else [int(side) for side in size.split("x")]
    return Description(
        labels,
        _numbers("--mean", mean),
        _numbers("--std", std),
        resize,
        pixels * (2 // len(pixels)) if pixels else None,
        logits,
    )


def _numbers(option: str, given: str | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        values = tuple(map(float, given.split(",")))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise typer.BadParameter(
            f"'{given}', expected one number, or three with commas between", param_hint=option
        )
    if option == "--std" and min(values) <= 0:
        raise typer.BadParameter(
            f"'{given}', the pixels are divided by it; expected numbers above 0", param_hint=option
        )
    return values
