"""What commands share that ask Google Cloud Vision."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from edgecat.cli.output import complain
from edgecat.cloud.pricing import FREE_UNITS
from edgecat.errors import CloudError
from edgecat.photo import Photo

if TYPE_CHECKING:
    from edgecat.cloud.vision import CloudVision

CloudVisionOption = Annotated[
    bool,
    typer.Option(
        "--cloud-vision",
        help="Ask Google Cloud Vision. The photos leave this machine, and many cost money.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Pay for Cloud Vision without a question.")
]


def open_cloud_vision(photos: Sequence[Photo], yes: bool, threshold: float = 0.0) -> CloudVision:
    """Return the service, once the user agrees to pay for `photos`. Raise CloudError."""
    try:
        from edgecat.cloud.vision import CloudVision
    except ModuleNotFoundError as error:
        raise CloudError(
            f"--cloud-vision needs '{error.name}'; install it with: pip install 'edgecat[cloud]'"
        ) from None
    cloud = CloudVision(threshold=threshold)
    estimate = cloud.estimate(photos)
    if estimate.units > FREE_UNITS:
        costs = (
            f"{cloud.name} is to be asked about {estimate.units:,} photos: "
            f"${estimate.dollars:.2f} if none of this month's {FREE_UNITS:,} free ones "
            f"are used yet, at most ${estimate.most_dollars:.2f}"
        )
        if not yes and not sys.stdin.isatty():
            raise CloudError(f"{costs}; agree with --yes")
        complain(costs)
        if not yes:
            # Not typer.confirm, which writes to stdout too, where the results go.
            print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
                raise CloudError("nothing was asked")
    return cloud
