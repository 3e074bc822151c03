"""What browsers count of their own connections, in sums, for the metrics.

A report says how often something happened, never to whom or with which document, and nothing of who sent it is kept
beside the sums: only how many reports a user has sent within the last minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from milepost.commands import Command, parse
from milepost.errors import RateLimited
from milepost.model import Identity
from milepost.server.limits import Window
from milepost.server.metrics import DELIVERY_SECONDS, Metrics

MAX_BYTES: Final = 4096  # a browser's own report is under 1,000
MAX_NAMES: Final = 32
MAX_TIMES: Final = 100_000  # what one report may add to one number
MAX_DELAY: Final = 3600.0
A_MINUTE: Final = 12

Times = Annotated[int, Field(ge=0, le=MAX_TIMES)]
Name = Annotated[str, StringConstraints(max_length=64)]
Counts = Annotated[dict[Name, Times], Field(max_length=MAX_NAMES)]
Buckets = Annotated[
    tuple[Times, ...], Field(strict=False, min_length=len(DELIVERY_SECONDS) + 1, max_length=len(DELIVERY_SECONDS) + 1)
]


class ClientReport(Command):
    """``POST /client-reports``: what has happened since the report before.

    ``reconnections``: how often a lost connection was made again, by what ended it. ``transports``: how often another
    transport took over, by which. ``actions``: what a person was shown and did. ``delays``: how many documents were on
    the screen within 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 seconds of their own time, or later, 11 numbers;
    ``delay_seconds``: the sum of these times. Names that are not known count as ``other``.
    """

    reconnections: Counts = Field(default_factory=dict)
    transports: Counts = Field(default_factory=dict)
    actions: Counts = Field(default_factory=dict)
    delays: Buckets = (0,) * (len(DELIVERY_SECONDS) + 1)
    delay_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _sum(self) -> Self:
        if self.delay_seconds > MAX_DELAY * sum(self.delays):
            context: dict[str, Any] = {"field": "delay_seconds"}
            raise PydanticCustomError("milepost", "must be the sum of delays of an hour at most", context)
        return self


def described() -> dict[str, Any]:
    """The body, for OpenAPI."""
    return {"requestBody": {"content": {"application/json": {"schema": ClientReport.model_json_schema()}}}}


class Reports:
    """Takes browsers' reports into the metrics. Use within one event loop."""

    def __init__(self, metrics: Metrics, *, now: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._now = now
        self._sent = Window()

    def take(self, identity: Identity, body: bytes) -> None:
        """Count what a report says. Raises ``Invalid``, and ``RateLimited`` after ``A_MINUTE`` of a user in one."""
        seconds = self._sent.hit((identity.tenant, identity.user), A_MINUTE, self._now())
        if seconds:
            raise RateLimited(retry_after=seconds)
        report = parse(ClientReport, body)
        counted: Mapping[str, Mapping[str, int]] = {
            "reconnections": report.reconnections,
            "transports": report.transports,
            "actions": report.actions,
        }
        self._metrics.reported(counted, report.delays, report.delay_seconds)
