"""The page at /: one file, with a policy that lets it run its own script and reach this server, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path


class Page:
    """Its bytes, and the headers that it needs."""

    def __init__(self) -> None:
        self.content = (Path(__file__).parent / "page.html").read_bytes()
        [script] = re.findall(rb"<script>(.*?)</script>", self.content, re.DOTALL)
        [style] = re.findall(rb"<style>(.*?)</style>", self.content, re.DOTALL)
        policy = (
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; img-src 'self' blob: data:;"
            " media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self.headers = {
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }


def _hash(source: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode()}"
