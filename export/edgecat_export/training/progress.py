"""What a run tells while it trains."""

from __future__ import annotations

from typing import Any, Protocol

import keras


class Progress(Protocol):
    """Shows what a run does; the command line implements it."""

    def say(self, text: str) -> None: ...
    def step(self, phase: str, done: int, total: int) -> None: ...


class ShowSteps(keras.callbacks.Callback):  # type: ignore[misc]
    """Report each batch of a phase."""

    def __init__(self, progress: Progress, phase: str, steps: int) -> None:
        super().__init__()
        self.progress, self.phase, self.steps = progress, phase, steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.progress.step(self.phase, batch + 1, self.steps)
