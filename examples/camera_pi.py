"""What a Raspberry Pi's own camera sees, with picamera2: python camera_pi.py"""

from picamera2 import Picamera2

import edgecat

with edgecat.Classifier(threshold=0.8) as classifier, Picamera2() as camera:
    camera.configure(
        camera.create_video_configuration(main={"size": (640, 480), "format": "BGR888"})
    )  # its name for arrays that are RGB
    camera.start()
    while True:
        result = classifier.classify(camera.capture_array("main"))
        print(f"{result.label} {result.score:.1%}", flush=True)
