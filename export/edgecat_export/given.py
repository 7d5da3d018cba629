"""What is said on the command line of a model that carries no card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecat.errors import ModelError


@dataclass(frozen=True)
class Given:
    """`mean` and `std`, on the scale 0..255, are one number or three, for red, green and blue."""

    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @staticmethod
    def parse(labels: str | None, mean: str | None, std: str | None) -> Given:
        """`labels` is a file of one label a line, or labels with commas between them. Raises ModelError."""
        given = Given(_labels(labels) if labels else (), _numbers("--mean", mean), _numbers("--std", std))
        if 0 in given.std:
            raise ModelError(f"--std {std}: the pixels are divided by it; expected numbers above 0")
        return given

    def options(self) -> list[str]:
        """As they would be typed."""
        texts = {"--labels": self.labels, "--mean": [f"{value:g}" for value in self.mean], "--std": [f"{value:g}" for value in self.std]}
        return [word for option, values in texts.items() if values for word in (option, ",".join(values))]


def _labels(text: str) -> tuple[str, ...]:
    path = Path(text)
    if "," not in text or path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise ModelError(f"--labels {text}: {reason}; expected a file of one label a line, or labels with commas between them") from None
    else:
        lines = text.split(",")
    labels = tuple(line.strip() for line in lines if line.strip())
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice or not labels:
        raise ModelError(f"--labels {text}: {f'{twice[0]!r} comes twice' if twice else 'no labels in it'}; expected a name of its own for each output")
    return labels


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(abs(number) < 1e6 for number in numbers):
        raise ModelError(f"{option} {text}: expected one number, or three with commas between them for red, green and blue, on the scale 0..255")
    return numbers
