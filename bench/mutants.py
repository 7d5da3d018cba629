"""Nearly valid requests to `edgecat serve`: JSON, base64 and photos with random damage.

The same seed gives the same requests.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

from PIL import Image

SMALL = 96  # pixels; damage to a small photo is as bad as to a large one, and done sooner
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "\ud800",
    "ü" * 50,
    "../../etc/passwd",
    [],
    {},
    [[]],
    {"a": {}},
    "LABEL_DETECTION",
    4,
    "gs://x/y",
    float("nan"),
)


def photos() -> list[bytes]:
    """One in each format that edgecat reads, and kinds of it."""
    picture = Image.effect_mandelbrot((SMALL, SMALL - 20), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    found = []
    for kind, mode, more in (
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("WEBP", "RGB", {}),
        ("BMP", "RGB", {}),
        ("GIF", "P", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {}),
    ):
        file = io.BytesIO()
        picture.convert(mode).save(file, kind, **more)
        found.append(file.getvalue())
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    return [*found, file.getvalue()]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """With bytes changed, taken out, repeated or cut off."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 5, 20))):
        at = (
            chance.randrange(len(changed) + 1)
            if chance.random() < 0.5
            else chance.randrange(min(64, len(changed) + 1))
        )
        match chance.randrange(5):
            case 0 if at < len(changed):
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at : at + chance.randrange(1, 30)]
            case 2:
                changed[at:at] = changed[at : at + chance.randrange(1, 200)]
            case 3:
                changed[at : at + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", chance.randbytes(4))
                )
            case 4:
                del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def twisted(value: Any, chance: random.Random) -> Any:
    """JSON of which a part is another kind of thing, missing, or named otherwise."""
    if chance.random() < 0.12:
        return chance.choice(ODD)
    if isinstance(value, dict):
        items = [
            (
                name if chance.random() < 0.95 else chance.choice((name.upper(), name + "s", "")),
                twisted(inner, chance),
            )
            for name, inner in value.items()
        ]
        return {name: inner for name, inner in items if chance.random() < 0.95}
    if isinstance(value, list):
        return [
            twisted(inner, chance)
            for inner in value
            for _ in range(chance.choice((1, 1, 1, 0, 2, 17)))
        ]
    return value


def requests(seed: int) -> Iterator[bytes]:
    """Endless HTTP requests, each whole, so that an answer to each is due."""
    chance, originals = random.Random(seed), photos()
    while True:
        content = chance.choice(originals)
        if chance.random() < 0.8:
            content = damaged(content, chance)
        if chance.random() < 0.3:
            kind = chance.choice(
                (
                    "image/jpeg",
                    "application/octet-stream",
                    "multipart/form-data; boundary=edge",
                    "text/plain",
                    "",
                )
            )
            if "boundary" in kind:
                content = (
                    b'--edge\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
                    + content
                    + b"\r\n--edge--\r\n"
                )
                content = damaged(content, chance) if chance.random() < 0.3 else content
            yield _http("/v1/classify", kind, content)
            continue
        text = base64.b64encode(content).decode()
        if chance.random() < 0.2:
            text = damaged(text.encode(), chance).decode("latin-1")
        question = {
            "image": {"content": text},
            "features": [
                {"type": chance.choice(("LABEL_DETECTION", "FACE_DETECTION")), "maxResults": 5}
            ],
        }
        asked: Any = {"requests": [question] * chance.choice((1, 1, 2, 3))}
        if chance.random() < 0.4:
            asked = twisted(asked, chance)
        body = json.dumps(asked).encode()
        yield _http(
            "/v1/images:annotate",
            "application/json",
            damaged(body, chance) if chance.random() < 0.2 else body,
        )


def send(port: int, seed: int, count: int) -> Counter[int]:
    """Return the HTTP status codes of the first `count` requests. Raise if one has no answer."""
    codes: Counter[int] = Counter()
    with contextlib.ExitStack() as opened:
        connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        for _, request in zip(range(count), requests(seed), strict=False):
            connection.sendall(request)
            answer = b""
            while not _whole(answer):
                piece = connection.recv(65536)
                assert piece, f"no answer to {request[:2000]!r}"
                answer += piece
            code = int(answer[9:12])
            assert code < 500, f"{answer!r} to {request!r}"
            codes[code] += 1
            json.loads(answer.partition(b"\r\n\r\n")[2])
    return codes


def _http(path: str, kind: str, body: bytes) -> bytes:
    header = f"Content-Type: {kind}\r\n" if kind else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= int(
        head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    )
