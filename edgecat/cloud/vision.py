"""Google Cloud Vision's label detection, asked as a Classifier is: the baseline in the cloud. Photos leave the machine.

Credentials come from GOOGLE_API_KEY or, without it, are Google's application default credentials. Limits, quotas and prices
are those of https://cloud.google.com/vision/quotas and https://cloud.google.com/vision/pricing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import requests
import urllib3
from google.api_core import exceptions as google_errors
from google.api_core.retry import exponential_sleep_generator, if_transient_error
from google.auth.api_key import Credentials as KeyCredentials
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import vision
from google.protobuf.json_format import ParseError
from requests.utils import get_environ_proxies, select_proxy

from edgecat.card import InputRecipe, ModelCard
from edgecat.classifier import UNSURE, Classification, Score, Scores
from edgecat.cloud.request import (
    DOLLARS_PER_UNIT,
    FREE_UNITS,
    MAX_BASE64,
    MAX_PHOTOS,
    SIDE,
    base64_bytes,
    light,
)
from edgecat.errors import CloudError, PhotoError
from edgecat.files import cache_folder
from edgecat.photo import Photo, read_encoded

NAME = "Google Cloud Vision"
ENDPOINT = "https://vision.googleapis.com"
MAX_RESULTS = 50  # labels a photo, all that the service has: of its usual 10 none may be the animal in a crowded photo
MODEL = "builtin/stable"

LABELS = ("cat", "dog", "neither")
# What decides, by mid or by name in small letters with spaces for hyphens (the service is not strict about either). Felidae, Canidae, "small to
# medium-sized cats" and the like decide nothing: lynxes and foxes have them too, and pets always have one of these names beside them. Wild
# relatives are named, so that a wolf that is 60 % a dog is neither.
MEANINGS = {
    name: label
    for label, names in {
        "cat": "/m/01yrx|cat|kitten|tabby cat|black cat|domestic short haired cat|domestic long haired cat|european shorthair|american shorthair"
        "|british shorthair|asian semi longhair|norwegian forest cat|maine coon|siamese|persian|cat breed",
        "dog": "/m/0bt9lr|/m/0kpmf|dog|puppy|dog breed|dog breed group|companion dog|toy dog|working dog|guard dog|hunting dog|herding dog|gun dog"
        "|sled dog|rare breed (dog)|ancient dog breeds|street dog|dog crossbreed|terrier|hound|retriever|spaniel",
        "neither": "big cats|lion|masai lion|tiger|bengal tiger|siberian tiger|leopard|snow leopard|clouded leopard|jaguar|cheetah|puma|cougar|lynx"
        "|bobcat|ocelot|caracal|serval|wild cat|jungle cat|sand cat|wolf|grey wolf|gray wolf|red wolf|coyote|jackal|dingo|dhole|african wild dog"
        "|fox|red fox|arctic fox|grey fox|swift fox|raccoon dog|hyena|spotted hyena",
    }.items()
    for name in names.split("|")
}

Labels: TypeAlias = (
    "list[dict[str, Any]]"  # the service's labelAnnotations: mid, description, score, topicality
)

_TRANSIENT_CODES = (
    4,
    8,
    13,
    14,
)  # google.rpc: deadline exceeded, resource exhausted, internal, unavailable
_AGAIN = "what was answered is kept, run the same command again to go on"


class Patience(NamedTuple):
    """How long to wait for the service, in seconds."""

    first_pause: float = 1.0  # before a second try, at most; doubled for each further one
    longest_pause: float = 32.0  # unless the service asks for a longer one
    total: float = 120.0  # of one request with all tries and pauses
    request: float = 60.0  # of one try


class Estimate(NamedTuple):
    """What asking about photos would use up."""

    photos: int
    units: int  # photos, each once, whose answers are not in the cache

    @property
    def dollars(self) -> float:
        """If none of the month's free units are used yet."""
        return max(0, self.units - FREE_UNITS) * DOLLARS_PER_UNIT

    @property
    def most_dollars(self) -> float:
        """If all of them are."""
        return self.units * DOLLARS_PER_UNIT


class _Question(NamedTuple):
    """A photo as the service sees it."""

    name: str
    digest: str  # sha256 of the photo as it is stored
    labels: Labels | None  # what the cache knows
    content: bytes  # what to send


class CloudVision:
    """An open connection to the service. Answers are kept on disk and never paid for twice.

    `threshold` is as in Classifier; `endpoint` is the service's address, else that in EDGECAT_CLOUD_VISION_ENDPOINT, else Google's;
    `photos_per_minute` is the quota, `workers` how many requests are in flight. Raises CloudError.
    """

    name = NAME
    card = ModelCard(
        "cloud-vision", "Google Cloud Vision", LABELS, InputRecipe(SIDE, SIDE), precision=""
    )

    def __init__(
        self,
        *,
        threshold: float = 0.0,
        endpoint: str | None = None,
        photos_per_minute: float = 1800,
        workers: int = 8,
        patience: Patience | None = None,
    ) -> None:
        self.threshold = threshold
        self.endpoint = _checked_endpoint(
            endpoint or os.environ.get("EDGECAT_CLOUD_VISION_ENDPOINT") or ENDPOINT
        )
        self.engine = (
            f"Cloud Vision API v1 (google-cloud-vision {version('google-cloud-vision')})"
            + (f" at {self.endpoint}" if self.endpoint != ENDPOINT else "")
        )
        self._key = os.environ.get("GOOGLE_API_KEY", "").strip()
        if not re.fullmatch("[!-~]*", self._key):
            raise CloudError(
                "GOOGLE_API_KEY holds more than the letters, digits and signs of an API key; set it to the key alone"
            )
        self._client = self._connect()
        self._pause_per_photo = 60 / photos_per_minute
        self._workers = workers
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._next_request = 0.0  # time.monotonic() before which the quota allows none
        self._reached = False  # whether the service has said anything yet
        host = re.sub("[^a-z0-9.-]", "_", self.endpoint.partition("://")[2])
        try:
            self._cache = (
                cache_folder()
                / "cloud-vision"
                / host
                / f"LABEL_DETECTION-{MODEL.replace('/', '-')}-{MAX_RESULTS}"
            )
            self._cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_kept(error.filename, error) from None

    def classify(self, photo: Photo) -> Classification:
        """As Classifier.classify. Raises PhotoError, CloudError."""
        return next(self.classify_many([photo]))

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        """Classifications in the order of `photos`, asked for sixteen a request, several requests at once.

        A photo that cannot be read, or that the service refuses, raises PhotoError, or is handed to `on_error` and left out. Where the service
        refuses a request for good, or does not answer in time, what it answered before is yielded first; then raises CloudError.
        """
        photos, stop = iter(photos), threading.Event()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                while window := list(itertools.islice(photos, self._workers * MAX_PHOTOS)):
                    yield from self._classify_window(window, pool, stop, on_error)
            finally:
                stop.set()

    def estimate(self, photos: Sequence[Photo]) -> Estimate:
        """Of photos that can be read more than once: no open files. Those that cannot be read are not counted."""

        def digest(photo: Photo) -> str:
            try:
                return hashlib.sha256(read_encoded(photo).content).hexdigest()
            except PhotoError:
                return ""

        with ThreadPoolExecutor(self._workers) as pool:
            found = [found for found in pool.map(digest, photos) if found]
        return Estimate(len(found), sum(self._known(digest) is None for digest in set(found)))

    def time_request(self, contents: Sequence[bytes]) -> float:
        """Milliseconds from one request about photos as they are sent to its answer: asked anew, whatever is kept, and paid for. Raises CloudError."""
        self._wait_for_quota(len(contents), threading.Event())
        answers: dict[str, Labels | str] = {}
        began = time.perf_counter()
        try:
            self._request(
                {str(number): content for number, content in enumerate(contents)},
                answers,
                keep=False,
            )
        except (
            google_errors.GoogleAPICallError,
            GoogleAuthError,
            requests.RequestException,
        ) as error:
            raise self._explained(error) from None
        taken = 1000 * (time.perf_counter() - began)
        refused = next((said for said in answers.values() if isinstance(said, str)), None)
        if refused is not None:
            raise CloudError(f"{NAME} refuses the photo ({refused})")
        return taken

    def interpret(self, labels: Labels) -> Classification:
        """The service's labels -> the best of those that mean cat, dog or neither; where none does, neither, with the best label's score."""
        best = dict.fromkeys(LABELS, 0.0)
        for found in labels:
            meaning = MEANINGS.get(found["mid"]) or MEANINGS.get(
                found["description"].casefold().replace("-", " ")
            )
            if meaning:
                best[meaning] = max(best[meaning], found["score"])
        if not any(best.values()):
            best["neither"] = max((found["score"] for found in labels), default=0.0)
        ranked = Scores(
            Score(*each)
            for each in sorted(best.items(), key=lambda each: (-each[1], each[0] != "neither"))
        )
        label, score = ranked[0]
        answer = label if score >= self.threshold else UNSURE
        return Classification(answer, score, answer, ranked, self.engine)

    def close(self) -> None:
        """Close the connections."""
        self._client.transport.close()

    def __enter__(self) -> CloudVision:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self) -> Any:
        local = self.endpoint.startswith("http:")
        if local and select_proxy(self.endpoint, get_environ_proxies(self.endpoint)):
            raise CloudError(
                f"HTTP_PROXY would carry photos and keys for {self.endpoint} unencrypted; set NO_PROXY=127.0.0.1,localhost,::1"
            )
        credentials = (
            KeyCredentials(self._key) if self._key else AnonymousCredentials() if local else None
        )
        try:
            return vision.ImageAnnotatorClient(
                transport="rest",
                credentials=credentials,
                client_options={"api_endpoint": self.endpoint},
            )
        except DefaultCredentialsError as error:
            reason = "" if "were not found" in str(error) else f" ({self._shown(error)})"
            raise CloudError(
                f"{NAME} needs credentials{reason}; set GOOGLE_API_KEY, or run: gcloud auth application-default login"
            ) from None
        except (GoogleAuthError, ValueError) as error:
            raise CloudError(
                f"{NAME}: the credentials cannot be used ({self._shown(error)})"
            ) from None

    def _classify_window(
        self,
        window: Sequence[Photo],
        pool: ThreadPoolExecutor,
        stop: threading.Event,
        on_error: Callable[[Photo, PhotoError], None] | None,
    ) -> Iterator[Classification]:
        questions = list(pool.map(self._prepare, window))
        contents = {
            asked.digest: asked.content
            for asked in questions
            if isinstance(asked, _Question) and asked.labels is None
        }
        answers: dict[str, Labels | str] = {}  # labels, or why the photo is refused
        in_flight = [pool.submit(self._ask, batch, answers, stop) for batch in _batches(contents)]
        failure = next(
            (
                error
                for done in wait(in_flight, return_when=FIRST_EXCEPTION).done
                if (error := done.exception())
            ),
            None,
        )
        if failure is not None:
            stop.set()
        wait(in_flight)  # the others finish, as they are paid for
        for photo, asked in zip(window, questions, strict=True):
            if isinstance(asked, _Question):
                answer = asked.labels if asked.labels is not None else answers.get(asked.digest)
                if isinstance(answer, list):
                    yield self.interpret(answer)
                    continue
                if answer is None and failure is not None:
                    raise failure
            error = (
                asked
                if isinstance(asked, PhotoError)
                else PhotoError(f"{asked.name}: refused by {NAME} ({answer})")
            )
            if on_error is None:
                raise error
            on_error(photo, error)

    def _prepare(self, photo: Photo) -> _Question | PhotoError:
        try:
            encoded = read_encoded(photo)
            digest = hashlib.sha256(encoded.content).hexdigest()
            known = self._known(digest)
            return _Question(encoded.name, digest, known, light(encoded) if known is None else b"")
        except PhotoError as error:
            return error

    def _ask(
        self, batch: Mapping[str, bytes], answers: dict[str, Labels | str], stop: threading.Event
    ) -> None:
        """Fill `answers` with those about the photos of `batch`, by their digests; not all where another request failed meanwhile. Raises CloudError."""
        deadline = time.monotonic() + self._patience.total
        for pause in exponential_sleep_generator(
            self._patience.first_pause, self._patience.longest_pause
        ):
            unanswered = {
                digest: content for digest, content in batch.items() if digest not in answers
            }
            self._wait_for_quota(len(unanswered), stop)
            if stop.is_set():
                return
            try:
                return self._request(unanswered, answers)
            except (
                google_errors.GoogleAPICallError,
                GoogleAuthError,
                requests.RequestException,
            ) as error:
                longer = max(pause, _pause_asked_for(error))
                if (
                    stop.is_set()
                    or not self._worth_another_try(error)
                    or time.monotonic() + longer > deadline
                ):
                    raise self._explained(error) from None
            stop.wait(longer)

    def _request(
        self, batch: Mapping[str, bytes], answers: dict[str, Labels | str], keep: bool = True
    ) -> None:
        """Fill `answers`, and the cache. Raises CloudError, and what Google's client raises, also where some photos met an error that passes."""
        feature = vision.Feature(
            type_=vision.Feature.Type.LABEL_DETECTION, max_results=MAX_RESULTS, model=MODEL
        )
        asked = [
            vision.AnnotateImageRequest(image=vision.Image(content=content), features=[feature])
            for content in batch.values()
        ]
        try:
            responses = self._client.batch_annotate_images(
                requests=asked, retry=None, timeout=self._patience.request
            ).responses
        except (
            ParseError,
            UnicodeDecodeError,
            AttributeError,
        ) as error:  # which the client raises on JSON that is none, or not as Google writes it
            raise self._not_google(error) from None
        self._reached = True
        if len(responses) != len(batch):
            raise self._not_google(f"{len(responses)} answers for {len(batch)} photos")
        passing = None
        for digest, response in zip(batch, responses, strict=True):
            if response.error.code in _TRANSIENT_CODES:
                passing = google_errors.from_grpc_status(
                    response.error.code, response.error.message
                )
            elif response.error.code:
                answers[digest] = self._shown(response.error.message)
            else:
                labels = [_as_record(label) for label in response.label_annotations]
                answers[digest] = self._keep(digest, labels) if keep else labels
        if passing is not None:
            raise passing

    def _wait_for_quota(self, photos: int, stop: threading.Event) -> None:
        with self._lock:
            start = max(time.monotonic(), self._next_request)
            self._next_request = start + photos * self._pause_per_photo
        stop.wait(max(0.0, start - time.monotonic()))

    def _worth_another_try(self, error: Exception) -> bool:
        if isinstance(error, google_errors.GoogleAPICallError):
            self._reached = True
        if _not_connected(error):
            return self._reached  # a network that fails now and then, rather than none
        passing = (google_errors.GatewayTimeout, google_errors.BadGateway, requests.Timeout)
        return isinstance(error, passing) or if_transient_error(error)

    def _explained(self, error: Exception) -> CloudError:
        """One line for a person, which never holds the key."""
        said = self._shown(_without_address(error))
        if isinstance(error, google_errors.TooManyRequests):
            return CloudError(f"{NAME}: the quota is used up ({said}); {_AGAIN} later")
        if isinstance(error, google_errors.BadRequest) and error.reason == "API_KEY_INVALID":
            return CloudError(
                f"{NAME} refuses the API key ({said}); set GOOGLE_API_KEY to a valid one"
            )
        refused = (google_errors.Forbidden, google_errors.Unauthorized, GoogleAuthError)
        if isinstance(error, refused) and not isinstance(error, TransportError):
            return CloudError(
                f"{NAME} refuses these credentials ({said}); enable the Cloud Vision API and billing for their project, or use others"
            )
        if isinstance(error, google_errors.NotFound):
            return self._not_google(said)
        if isinstance(error, google_errors.ClientError):
            return CloudError(f"{NAME} refuses the request ({said})")
        if isinstance(error, google_errors.ServerError):
            return CloudError(f"{NAME} is not available ({said}); {_AGAIN} later")
        return CloudError(
            f"{NAME} cannot be reached at {self.endpoint} ({said}); check the network; {_AGAIN}"
        )

    def _not_google(self, said: object) -> CloudError:
        return CloudError(
            f"{self.endpoint} does not answer as {NAME} does ({self._shown(said)}); check EDGECAT_CLOUD_VISION_ENDPOINT and the network's proxy"
        )

    def _shown(self, said: object) -> str:
        text = str(said).replace(self._key, "[the API key]") if self._key else str(said)
        return " ".join(text.split())[:300]

    def _known(self, digest: str) -> Labels | None:
        try:
            labels: Labels = json.loads((self._cache / f"{digest}.json").read_bytes())[
                "labelAnnotations"
            ]
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ):  # none, or one that cannot be read, which is asked for anew
            return None
        return labels

    def _keep(self, digest: str, labels: Labels) -> Labels:
        path = self._cache / f"{digest}.json"
        part = path.with_name(f".{digest}.{os.getpid()}.part")
        try:
            part.write_text(
                json.dumps({"labelAnnotations": labels}, ensure_ascii=False), encoding="utf-8"
            )
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _not_kept(self._cache, error) from None
        return labels


def _checked_endpoint(given: str) -> str:
    """As 'https://HOST', or 'http://HOST' of this machine. Raises CloudError."""
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        host, _ = parts.hostname or "", parts.port  # port raises ValueError where it is none
    except ValueError:
        parts, host = urlsplit(""), ""
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise CloudError("EDGECAT_CLOUD_VISION_ENDPOINT is not an address; expected https://HOST")
    if parts.scheme == "http" and not _is_loopback(host):
        raise CloudError(
            f"EDGECAT_CLOUD_VISION_ENDPOINT: photos and keys go to {host} over https only; expected https://{parts.netloc}"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _not_kept(folder: Path | str, error: OSError) -> CloudError:
    return CloudError(
        f"{folder}: answers that are paid for cannot be kept here ({error.strerror}); set XDG_CACHE_HOME to a folder that can be written"
    )


def _batches(contents: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """As many photos together as a request may hold."""
    batch: dict[str, bytes] = {}
    room = MAX_BASE64
    for digest, content in contents.items():
        weight = base64_bytes(content)
        if batch and (len(batch) == MAX_PHOTOS or weight > room):
            yield batch
            batch, room = {}, MAX_BASE64
        batch[digest] = content
        room -= weight
    if batch:
        yield batch


def _as_record(label: Any) -> dict[str, Any]:
    return {
        "mid": label.mid,
        "description": label.description,
        "score": round(label.score, 6),
        "topicality": round(label.topicality, 6),
    }


def _pause_asked_for(error: Exception) -> float:
    """Seconds that the service asks to wait, by a Retry-After header or google.rpc.RetryInfo; 0 where it does not."""
    if not isinstance(error, google_errors.GoogleAPICallError):
        return 0.0
    header = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    delays = [str(detail.get("retryDelay")) for detail in error.details if isinstance(detail, dict)]
    return max(
        [
            float(found[1])
            for text in (header, *delays)
            if (found := re.fullmatch(r"(\d+(?:\.\d*)?)s?", text))
        ],
        default=0.0,
    )


def _not_connected(error: Exception) -> bool:
    """Whether no connection came about: no such host, nobody listens, no valid certificate."""
    if isinstance(error, TransportError):  # to where access tokens come from
        return True
    return (
        isinstance(error, requests.ConnectionError)
        and bool(error.args)
        and isinstance(error.args[0], urllib3.exceptions.MaxRetryError)
    )


def _without_address(error: Exception) -> object:
    """What an error says, without the address and the objects that libraries put before it."""
    if isinstance(error, google_errors.GoogleAPICallError):
        return re.sub(r"^POST \S+: ", "", str(error.message))
    if isinstance(error, requests.ConnectionError) and _not_connected(error):
        return str(error.args[0].reason).rpartition(": ")[2]
    return error
