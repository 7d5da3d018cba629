"""An app in ten lines: python app.py PHOTO..."""

import sys

import edgecat

with edgecat.Classifier(threshold=0.8) as classifier:  # opened once; threads may share it
    for photo in sys.argv[1:]:
        try:
            result = classifier.classify(photo)
            print(f"{photo}: {result.label}, {result.score:.0%}")
        except edgecat.PhotoError as error:
            print(error, file=sys.stderr)
