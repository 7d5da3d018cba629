"""The connection to the service: its address, the credentials, and its errors in one line.

Credentials come from GOOGLE_API_KEY or, without it, are Google's application default credentials.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from google.api_core import exceptions as google_errors
from google.api_core.retry import exponential_sleep_generator, if_transient_error
from google.auth.api_key import Credentials as KeyCredentials
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import vision
from requests.utils import get_environ_proxies, select_proxy

from edgecat.errors import CloudError

NAME = "Google Cloud Vision"
ENDPOINT = "https://vision.googleapis.com"

FAILURES = (google_errors.GoogleAPICallError, GoogleAuthError, requests.RequestException)
_AGAIN = "what was answered is kept, run the same command again to go on"


class Connection:
    """An open client of the service.

    `endpoint` is the service's address; None: EDGECAT_CLOUD_VISION_ENDPOINT, or else Google's.
    Raise CloudError.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = _checked_endpoint(
            endpoint or os.environ.get("EDGECAT_CLOUD_VISION_ENDPOINT") or ENDPOINT
        )
        self._key = os.environ.get("GOOGLE_API_KEY", "").strip()
        if not re.fullmatch("[!-~]*", self._key):
            raise CloudError(
                "GOOGLE_API_KEY holds more than the letters, digits and signs of an API key; "
                "set it to the key alone"
            )
        self.client = self._connect()
        self.reached = False  # whether the service has answered anything yet

    def close(self) -> None:
        """Close the connections."""
        self.client.transport.close()

    def worth_another_try(self, error: Exception) -> bool:
        """Return whether a request that failed may succeed if it is repeated."""
        if isinstance(error, google_errors.GoogleAPICallError):
            self.reached = True
        if _not_connected(error):
            return self.reached  # a network that fails now and then, rather than none
        passing = (google_errors.GatewayTimeout, google_errors.BadGateway, requests.Timeout)
        return isinstance(error, passing) or if_transient_error(error)

    def explained(self, error: Exception) -> CloudError:
        """Return an error of one line for a person; it never holds the key."""
        reason = self.shown(_without_address(error))
        if isinstance(error, google_errors.TooManyRequests):
            return CloudError(f"{NAME}: the quota is used up ({reason}); {_AGAIN} later")
        if isinstance(error, google_errors.BadRequest) and error.reason == "API_KEY_INVALID":
            return CloudError(
                f"{NAME} refuses the API key ({reason}); set GOOGLE_API_KEY to a valid one"
            )
        refused = (google_errors.Forbidden, google_errors.Unauthorized, GoogleAuthError)
        if isinstance(error, refused) and not isinstance(error, TransportError):
            return CloudError(
                f"{NAME} refuses these credentials ({reason}); "
                "enable the Cloud Vision API and billing for their project, or use others"
            )
        if isinstance(error, google_errors.NotFound):
            return self.not_google(reason)
        if isinstance(error, google_errors.ClientError):
            return CloudError(f"{NAME} refuses the request ({reason})")
        if isinstance(error, google_errors.ServerError):
            return CloudError(f"{NAME} is not available ({reason}); {_AGAIN} later")
        return CloudError(
            f"{NAME} cannot be reached at {self.endpoint} ({reason}); check the network; {_AGAIN}"
        )

    def not_google(self, reason: object) -> CloudError:
        """Return the error for an answer that is not in Google's format."""
        return CloudError(
            f"{self.endpoint} does not answer as {NAME} does ({self.shown(reason)}); "
            "check EDGECAT_CLOUD_VISION_ENDPOINT and the network's proxy"
        )

    def shown(self, reason: object) -> str:
        """Return a reason in one line of moderate length, without the key."""
        text = str(reason)
        if self._key:
            text = text.replace(self._key, "[the API key]")
        return " ".join(text.split())[:300]

    def _connect(self) -> Any:
        local = self.endpoint.startswith("http:")
        if local and select_proxy(self.endpoint, get_environ_proxies(self.endpoint)):
            raise CloudError(
                f"HTTP_PROXY would carry photos and keys for {self.endpoint} unencrypted; "
                "set NO_PROXY=127.0.0.1,localhost,::1"
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
            reason = "" if "were not found" in str(error) else f" ({self.shown(error)})"
            raise CloudError(
                f"{NAME} needs credentials{reason}; "
                "set GOOGLE_API_KEY, or run: gcloud auth application-default login"
            ) from None
        except (GoogleAuthError, ValueError) as error:
            raise CloudError(
                f"{NAME}: the credentials cannot be used ({self.shown(error)})"
            ) from None


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield the seconds to wait before each further try: doubled each time, with jitter."""
    yield from exponential_sleep_generator(first, longest)


def requested_pause(error: Exception) -> float:
    """Return the seconds that the service asks to wait; 0 if it does not.

    By a Retry-After header, or by google.rpc.RetryInfo.
    """
    if not isinstance(error, google_errors.GoogleAPICallError):
        return 0.0
    header = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    delays = [str(detail.get("retryDelay")) for detail in error.details if isinstance(detail, dict)]
    matches = [re.fullmatch(r"(\d+(?:\.\d*)?)s?", text) for text in (header, *delays)]
    return max((float(match[1]) for match in matches if match), default=0.0)


def _checked_endpoint(address: str) -> str:
    """Return 'https://HOST', or 'http://HOST' of this machine. Raise CloudError."""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
        host, _ = parts.hostname or "", parts.port  # port raises ValueError if it is none
    except ValueError:
        parts, host = urlsplit(""), ""
    beyond_host = parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not host or beyond_host or "@" in parts.netloc:
        raise CloudError("EDGECAT_CLOUD_VISION_ENDPOINT is not an address; expected https://HOST")
    if parts.scheme == "http" and not _is_loopback(host):
        raise CloudError(
            f"EDGECAT_CLOUD_VISION_ENDPOINT: photos and keys go to {host} over https only; "
            f"expected https://{parts.netloc}"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _not_connected(error: Exception) -> bool:
    """Return whether no connection came about: no such host, no listener, no valid certificate."""
    if isinstance(error, TransportError):  # to the server of access tokens
        return True
    return (
        isinstance(error, requests.ConnectionError)
        and bool(error.args)
        and isinstance(error.args[0], urllib3.exceptions.MaxRetryError)
    )


def _without_address(error: Exception) -> object:
    """Return an error's message without the address and the objects that libraries put first."""
    if isinstance(error, google_errors.GoogleAPICallError):
        return re.sub(r"^POST \S+: ", "", str(error.message))
    if isinstance(error, requests.ConnectionError) and _not_connected(error):
        return str(error.args[0].reason).rpartition(": ")[2]
    return error
