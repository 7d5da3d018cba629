"""What learns in a run: the network on photos, or its head on the features of a frozen base."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import keras
import numpy as np

from edgecat.errors import ModelError
from edgecat_export.dataset import Dataset, pixel_batches
from edgecat_export.networks.classifier import freeze_all_but
from edgecat_export.training.batches import (
    Array,
    AugmentedPhotos,
    Batches,
    FeaturesOfPhotos,
    PhotosAndDrift,
)
from edgecat_export.training.network.distillation import with_drift
from edgecat_export.training.network.head import base_of, features_of, fit_head, head_of
from edgecat_export.training.network.initial import initial_network, original_network
from edgecat_export.training.options import Options
from edgecat_export.training.progress import Progress
from edgecat_export.training.report import scores_of
from edgecat_export.training.run_folder import RunFolder


class Parts(NamedTuple):
    """All photos, and the two parts that they are split into."""

    all: Dataset
    training: Dataset
    validation: Dataset


class Learner(Protocol):
    """`network` is trained; `model` is what the checkpoint holds."""

    network: keras.Model

    @property
    def model(self) -> keras.Model: ...
    def batches(self, epoch: int) -> Batches: ...
    def scores(self) -> Array: ...


class PhotoLearner:
    """Trains all of the network or its last blocks, on photos.

    `network` is `model`, or `model` with a second output for its drift from ImageNet.
    """

    model: keras.Model

    def __init__(self, run: RunFolder, options: Options, parts: Parts, progress: Progress) -> None:
        self.options, self.dataset = options, parts.training
        paths = [photo.path for photo in parts.validation.photos]
        self.validation = np.concatenate(list(pixel_batches(paths, options.recipe())))
        if run.history:
            self._load(run)
        else:
            self._build(run, parts, progress)

    def _load(self, run: RunFolder) -> None:
        self.network = keras.models.load_model(run.state)
        outputs = self.network.output
        scores = outputs["scores"] if isinstance(outputs, dict) else outputs
        self.model = keras.Model(self.network.input, scores, name=self.options.architecture)

    def _build(self, run: RunFolder, parts: Parts, progress: Progress) -> None:
        options = self.options
        self.network = self.model = initial_network(options, parts.all.labels)
        if options.starts_from_imagenet:
            fit_head(self.model, parts.all, parts.training, options, progress)
            self.model.save_weights(run.start_weights)
        if options.fine_tune is not None:
            freeze_all_but(self.model, options.fine_tune)
        if options.distill and options.starts_from_imagenet:
            original = original_network(options)
            if original is not None:
                self.network = with_drift(self.model, original)
            else:
                progress.say(
                    f"{options.weights}: holds no head for the ImageNet classes, so what it knows "
                    "of them is not kept; expected the file of the whole network"
                )

    def batches(self, epoch: int) -> Batches:
        kind = PhotosAndDrift if len(self.network.outputs) > 1 else AugmentedPhotos
        return kind(self.dataset, self.options, epoch, self.options.mixup)

    def scores(self) -> Array:
        """Return the scores of the validation photos, (photos, labels)."""
        return scores_of(self.model, self.validation, self.options.recipe())


class FeatureLearner:
    """Trains the head alone, on features that are computed once."""

    def __init__(self, run: RunFolder, options: Options, parts: Parts, progress: Progress) -> None:
        self.options, self.dataset = options, parts.training
        self.whole = initial_network(options, parts.all.labels)
        base = base_of(self.whole, options)
        if run.history and run.base != base.digest:
            raise ModelError(
                f"{run.path}: began with other weights than --weights {options.weights} gives now; "
                "start again with another --out"
            )
        run.base = base.digest
        if run.history:
            self.network = keras.models.load_model(run.state)
        else:
            self.network = head_of(self.whole)
        place = {photo: number for number, photo in enumerate(parts.all.photos)}
        training = [place[photo] for photo in parts.training.photos]
        validation = [place[photo] for photo in parts.validation.photos]
        plain = features_of(base, parts.all, False, progress)
        mirrored = features_of(base, parts.all, True, progress)
        self.variants = np.stack([plain[training], mirrored[training]])
        self.validation = plain[validation]

    @property
    def model(self) -> keras.Model:
        """The whole network, with the head as trained so far."""
        self.whole.get_layer("scores").set_weights(self.network.get_layer("scores").get_weights())
        return self.whole

    def batches(self, epoch: int) -> Batches:
        return FeaturesOfPhotos(self.variants, self.dataset, self.options, epoch)

    def scores(self) -> Array:
        """Return the scores of the validation photos, (photos, labels)."""
        scores: Array = self.network.predict_on_batch(self.validation)
        return scores
