"""Names from the host side's tables, for help texts and errors. Needs no Keras."""

from __future__ import annotations

from importlib.util import find_spec

HAS_HOST_SIDE = find_spec("edgecat_export") is not None


def formats() -> tuple[str, ...]:
    """Return the names of the export formats."""
    if not HAS_HOST_SIDE:
        return ()
    from edgecat_export.formats import FORMATS

    return tuple(FORMATS)


def architectures(having: str | None = None) -> tuple[str, ...]:
    """Return the names of the architectures, or of those that have an `alpha` or `imagenet`."""
    if not HAS_HOST_SIDE:
        return ()
    from edgecat_export.architectures import ARCHITECTURES

    rows = ARCHITECTURES.items()
    return tuple(name for name, row in rows if having is None or getattr(row, having) is not None)


def checkpoints() -> tuple[str, ...]:
    """Return the names of the checkpoints that come with edgecat."""
    if not HAS_HOST_SIDE:
        return ()
    from edgecat_export.checkpoint import SHIPPED

    return tuple(sorted(path.stem for path in SHIPPED.glob("*.keras")))
