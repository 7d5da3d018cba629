"""The page at /, with a policy that allows its own script and style and this server, nothing else.

The page is a constant file, not a template: all its figures come from this server's API.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path


class Page:
    """The page's bytes and headers."""

    def __init__(self) -> None:
        self.content = (Path(__file__).parent / "page.html").read_bytes()
        [script] = re.findall(rb"<script>(.*?)</script>", self.content, re.DOTALL)
        [style] = re.findall(rb"<style>(.*?)</style>", self.content, re.DOTALL)
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
