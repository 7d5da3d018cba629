"""A server that speaks Cloud Vision's REST protocol on this machine, as far as label detection goes.

It follows https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate: Google's JSON, limits and errors. Its labels are those of a
real classifier, the model that comes with edgecat. It notes what it was asked and can be told to fail.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from edgecat import Classifier, PhotoError

KEY = "AIzaSyTheKeyOfTheseTests-0123456789abcd"
MAX_PHOTOS = 16
MAX_BYTES = 10 * 1024 * 1024
# The names and mids that Google gives, and those that come with them.
LABELS = {
    "cat": [("/m/01yrx", "Cat", 1.0), ("/m/0307l", "Felidae", 0.98), ("/m/01l7qd", "Whiskers", 0.9)],
    "dog": [("/m/0bt9lr", "Dog", 1.0), ("/m/0kpmf", "Dog breed", 0.95), ("/m/01lrl", "Carnivore", 0.9)],
    "neither": [("/m/04brg2", "Tableware", 1.0), ("/m/0271t", "Drink", 0.8)],
}


class Fault(NamedTuple):
    """How to answer a request wrongly."""

    code: int  # HTTP's; 0 drops the connection
    status: str = ""  # google.rpc.Code's name
    message: str = ""
    details: tuple[dict[str, Any], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    after: float = 0.0  # seconds
    body: bytes | None = None  # in the place of Google's JSON


class Asked(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    photos: int


class VisionServer(ThreadingHTTPServer):
    """Listens on a free port from `with` on. `quota` is how many photos it answers, `faults` come before answers."""

    daemon_threads = True

    def __init__(self, quota: int | None = None, faults: tuple[Fault, ...] = (), photo_faults: tuple[int, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.quota = quota
        self.faults = deque(faults)
        self.photo_faults = deque(photo_faults)  # google.rpc codes for the next photos
        self.requests: list[Asked] = []
        self.answered: Counter[str] = Counter()  # sha256 of a photo -> how often it was answered, and would have been paid for
        self.classifier = Classifier(threads=1)
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """For a client that is to find it, and may use it."""
        return {"EDGECAT_CLOUD_VISION_ENDPOINT": self.address, "GOOGLE_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}

    def __enter__(self) -> VisionServer:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        self.classifier.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that gave up waiting
            super().handle_error(request, client_address)

    def refusal(self, asked: Asked, size: int) -> Fault | None:
        """Why the request as a whole is refused, if it is; uses up the quota."""
        key = asked.headers.get("x-goog-api-key")
        if self.faults:
            return self.faults.popleft()
        if not asked.path.startswith("/v1/images:annotate"):
            return Fault(404, "NOT_FOUND", "Requested entity was not found.")
        if key is None:
            return Fault(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers (callers without established identity).")
        if key != KEY:
            return bad_key("API key not valid. Please pass a valid API key.")
        if size > MAX_BYTES:
            return Fault(400, "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {MAX_BYTES} bytes.")
        if asked.photos > MAX_PHOTOS:
            return Fault(400, "INVALID_ARGUMENT", f"Too many images per request: {asked.photos}, at most {MAX_PHOTOS}.")
        if self.quota is not None:
            if asked.photos > self.quota:
                return quota_exceeded("3600")
            self.quota -= asked.photos
        return None

    def annotate(self, request: dict[str, Any]) -> dict[str, Any]:
        """One photo's answer."""
        with self.lock:
            fault = self.photo_faults.popleft() if self.photo_faults else 0
        if fault:
            return {"error": {"code": fault, "message": "The service is unavailable."}}
        [feature] = request["features"]
        assert feature["type"] in ("LABEL_DETECTION", 4)
        content = base64.b64decode(request["image"]["content"], validate=True)
        with self.lock:
            try:
                answer = self.classifier.classify(content)
            except PhotoError:
                return {"error": {"code": 3, "message": "Bad image data."}}
            self.answered[hashlib.sha256(content).hexdigest()] += 1
        labels = [{"mid": mid, "description": name, "score": answer.score * share, "topicality": answer.score} for mid, name, share in LABELS[answer.label]]
        return {"labelAnnotations": labels[: feature.get("maxResults", 10)]}


def bad_key(message: str) -> Fault:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return Fault(400, "INVALID_ARGUMENT", message, (info,))


def quota_exceeded(retry_after: str = "") -> Fault:
    message = "Quota exceeded for quota metric 'Label detection requests' and limit 'Label detection requests per minute'."
    return Fault(429, "RESOURCE_EXHAUSTED", message, headers=(("Retry-After", retry_after),) if retry_after else ())


class _Handler(BaseHTTPRequestHandler):
    server: VisionServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        requests = json.loads(self.rfile.read(size)).get("requests", [])
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, len(requests))
        with self.server.lock:
            self.server.requests.append(asked)
            fault = self.server.refusal(asked, size)
        if fault is None:
            self._send(200, json.dumps({"responses": [self.server.annotate(request) for request in requests]}).encode())
            return
        time.sleep(fault.after)
        if fault.code == 0:
            self.close_connection = True
            return
        error = {"code": fault.code, "message": fault.message, "status": fault.status, "details": list(fault.details)}
        self._send(fault.code, json.dumps({"error": error}).encode() if fault.body is None else fault.body, *fault.headers)

    def _send(self, code: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(code)
        for name, value in (("Content-Type", "application/json; charset=UTF-8"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
