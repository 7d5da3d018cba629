"""What a camera sees, with OpenCV: python camera.py 0

Instead of 0, give a device, a video file or the address of a stream.
"""

import sys

import cv2

import edgecat

source = sys.argv[1]
camera = cv2.VideoCapture(int(source) if source.isdecimal() else source)
if not camera.isOpened():
    sys.exit(f"{source}: cannot be opened as a camera or video")
with edgecat.Classifier(threshold=0.8) as classifier:
    while True:
        there, frame = camera.read()
        if not there:
            break
        result = classifier.classify(frame[:, :, ::-1])  # OpenCV's frames are BGR
        print(f"{result.label} {result.score:.1%}", flush=True)
