"""The smallest script that classifies a photo with numpy, Pillow and LiteRT, for one model only.

python bench/smallest.py MODEL cat,dog,neither PHOTO
"""

import os
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

model, labels, photo = sys.argv[1:]
interpreter = Interpreter(model, num_threads=min(4, os.cpu_count() or 1))
interpreter.allocate_tensors()
read, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
size = (int(read["shape"][2]), int(read["shape"][1]))
image = Image.open(photo)
image.draft("RGB", size)
pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
interpreter.set_tensor(read["index"], pixels[np.newaxis])
interpreter.invoke()
scores = interpreter.get_tensor(said["index"])[0]
print(photo, labels.split(",")[scores.argmax()], scores.max() / 256)
