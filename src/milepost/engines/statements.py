"""Reads an engine's file of named statements: ``-- name: one sentence``, then the statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- (\w+): .*$", re.MULTILINE)


def load(package: str, file: str) -> Mapping[str, str]:
    """The statements of a file that lies in a package, by name."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    statements = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    if len(statements) * 2 != len(parts):
        raise ValueError(f"{file} names a statement twice")
    return MappingProxyType(statements)
