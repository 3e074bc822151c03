"""Milepost: live job progress and notifications, from a worker to a browser.

The names most users need. Each is imported when it is first asked for, so that a worker that only reports loads no
server, and ``import milepost`` costs next to nothing.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from milepost.client.producer import AsyncMilepost
    from milepost.client.sync import Milepost
    from milepost.errors import Conflict, Invalid, JobCancelled, MilepostError, NotFound, Unavailable
    from milepost.model import Identity, Job, Notification
    from milepost.server import create_app

__all__ = [
    "AsyncMilepost",
    "Conflict",
    "Identity",
    "Invalid",
    "Job",
    "JobCancelled",
    "Milepost",
    "MilepostError",
    "NotFound",
    "Notification",
    "Unavailable",
    "create_app",
]

_HOMES = {
    "AsyncMilepost": "milepost.client.producer",
    "Milepost": "milepost.client.sync",
    "Identity": "milepost.model",
    "Job": "milepost.model",
    "Notification": "milepost.model",
    "create_app": "milepost.server",
}


def __getattr__(name: str) -> typing.Any:
    if name not in __all__:
        raise AttributeError(f"module 'milepost' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "milepost.errors")), name)


def __dir__() -> list[str]:
    return [*__all__]
