"""An edgecat .onnx file in plain ONNX Runtime, without edgecat.

python plain_onnx.py MODEL.onnx PHOTO
"""

import ast
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
recipe = session.get_modelmeta().custom_metadata_map
height, width = ast.literal_eval(recipe["imgsz"])
photo = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
photo = photo.resize((width, height), Image.Resampling.BILINEAR)
mean, std = (ast.literal_eval(recipe[key]) for key in ("mean", "std"))
pixels = (np.asarray(photo, np.float32) - mean) / std
batch = pixels[np.newaxis].astype(np.float32)
[scores] = session.run(None, {session.get_inputs()[0].name: batch})[0]
print(ast.literal_eval(recipe["names"])[int(scores.argmax())], round(float(scores.max()), 3))
