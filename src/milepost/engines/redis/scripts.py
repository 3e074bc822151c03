"""The scripts of the Redis engine: which files each is made of, and what Redis calls it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final, Literal

Name = Literal["commit", "touch", "prune", "epoch", "ping", "changes", "find", "count", "get", "heads", "due"]

_FILES: Final[Mapping[Name, tuple[str, ...]]] = {
    "commit": ("tenant", "write", "commit"),
    "touch": ("tenant", "touch"),
    "prune": ("tenant", "write", "prune"),
    "epoch": ("tenant", "epoch"),
    "ping": ("tenant", "ping"),
    "changes": ("tenant", "read", "changes"),
    "find": ("tenant", "read", "find"),
    "count": ("tenant", "count"),
    "get": ("tenant", "get"),
    "heads": ("tenant", "heads"),
    "due": ("tenant", "due"),
}


def _text(file: str) -> str:
    return resources.files("milepost.engines.redis").joinpath(f"{file}.lua").read_text(encoding="utf-8")


TEXTS: Final[Mapping[Name, bytes]] = MappingProxyType(
    {name: "\n".join(map(_text, files)).encode() for name, files in _FILES.items()}
)
HASHES: Final[Mapping[Name, bytes]] = MappingProxyType(
    {name: hashlib.sha1(text, usedforsecurity=False).hexdigest().encode() for name, text in TEXTS.items()}
)
