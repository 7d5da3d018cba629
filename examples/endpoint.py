"""An endpoint that shares one Classifier: uvicorn endpoint:app

Then: curl --data-binary @photo.jpg http://127.0.0.1:8000/classify
"""

from typing import Annotated

from fastapi import Body, FastAPI, HTTPException

import edgecat

app = FastAPI(title="Cat or dog?")
classifier = edgecat.Classifier()


@app.post("/classify")
def classify(
    photo: Annotated[bytes, Body(media_type="image/*")],
) -> dict[str, object]:  # no `async`: FastAPI runs it in a thread of its pool
    try:
        result = classifier.classify(photo)
    except edgecat.PhotoError as error:
        raise HTTPException(415, str(error)) from None
    return {"label": result.label, "score": result.score, "scores": dict(result.scores)}
