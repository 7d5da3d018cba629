"""The page at /, with a policy that allows its own script and style and this server, nothing else.

page.html, with page.css and page.js inside it, is constant: its figures come from the API.
It needs no template engine, which the server's users would have to install.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


class Page:
    """The page's bytes and headers."""

    def __init__(self) -> None:
        page, style, script = (
            Path(__file__).with_name(f"page.{suffix}").read_bytes()
            for suffix in ("html", "css", "js")
        )
        page = page.replace(b"<style></style>", b"<style>%b</style>" % style)
        self.content = page.replace(b"<script></script>", b"<script>%b</script>" % script)
        policy = {
            "default-src": "'none'",
            "script-src": f"'{_hash(script)}'",
            "style-src": f"'{_hash(style)}'",
            "connect-src": "'self'",
            "img-src": "'self' blob: data:",
            "media-src": "'self' blob: mediastream:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        self.headers = {
            "Content-Security-Policy": "; ".join(map(" ".join, policy.items())),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }


def _hash(source: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode()}"
