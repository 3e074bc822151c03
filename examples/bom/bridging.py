"""The file of the bridge, as the hub of this demo is to read it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

from ..stage.site import Site

_FILE: Final = Path(__file__).with_name("demo-bridge.toml")


def bridge_file(site: Site) -> Path:
    """A copy for this demo alone: of all processes on a host that were given the same file, only one follows it."""
    data = _FILE.read_bytes()
    path = site.folder / f"bridge-{hashlib.sha256(data).hexdigest()[:12]}.toml"
    site.folder.mkdir(parents=True, exist_ok=True)
    beside = site.folder / f".bridge.{os.getpid()}"
    beside.write_bytes(data)
    with contextlib.suppress(FileExistsError):  # the demo's other hub has the same one, and may hold its lock already
        os.link(beside, path)
    beside.unlink()
    return path
