"""Sorts the photos that come into a folder by what they show: python watched_folder.py FOLDER"""

import sys
from pathlib import Path

import edgecat
from edgecat.watch.folder import new_photos

folder = Path(sys.argv[1])
with edgecat.Classifier(threshold=0.8) as classifier:
    for photo in new_photos(
        folder, classifier.pixels, on_error=lambda error: print(error, file=sys.stderr)
    ):
        if photo and photo.path:
            label = classifier.classify(photo.pixels).label
            (folder / label).mkdir(exist_ok=True)
            photo.path.rename(folder / label / photo.path.name)
            print(f"{photo.path.name}: {label}", flush=True)
