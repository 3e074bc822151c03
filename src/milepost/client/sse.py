"""An incremental reader of server-sent events. Sans-I/O: bytes in, events out, wherever the network cut them.

It follows the WHATWG HTML standard, section 9.2.6. Lines end at CR, LF or CRLF and nowhere else: ``str.splitlines``
also cuts at U+2028, U+0085 and others, which may stand in a message. A block without data is no event, and an id
counts only once its block is complete: a resume after a torn block asks for that block again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from milepost.errors import Invalid

MAX_EVENT_BYTES: Final = 1024 * 1024  # of one event, its unfinished line included

_LINE_END = re.compile(rb"[\r\n]")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One dispatched block: its ``event`` name (``message`` where it has none), its data, the last id up to it."""

    event: str
    data: str
    id: str


class EventReader:
    """Turns the bytes of one response into events.

    ``last_event_id`` is what a reconnect sends; ``retry_ms`` is the newest ``retry:``, None before the first.
    """

    def __init__(self, last_event_id: str = "", *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._max = max_event_bytes
        self._line = bytearray()
        self._skip_lf = False
        self._begun = False
        self._id = last_event_id
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[RawEvent]:
        """The events that this chunk completes.

        Raises ``Invalid`` (code ``too_large``) where one event outgrows the bound; the reader is then of no more use.
        """
        events: list[RawEvent] = []
        start = 0
        if self._skip_lf and chunk:
            # The CR at the end of the last chunk was taken for a line end at once; its LF must not be another one.
            self._skip_lf = False
            start = chunk[0] == 0x0A
        while (end := _LINE_END.search(chunk, start)) is not None:
            self._line += chunk[start : end.start()]
            start = end.end()
            if end[0] == b"\r":
                if start == len(chunk):
                    self._skip_lf = True
                elif chunk[start] == 0x0A:
                    start += 1
            self._check_size()
            event = self._end_line()
            if event is not None:
                events.append(event)
        self._line += chunk[start:]
        self._check_size()
        return events

    def _check_size(self) -> None:
        if self._size + len(self._line) > self._max:
            raise Invalid(f"an event of the stream is larger than {self._max} bytes", code="too_large")

    def _end_line(self) -> RawEvent | None:
        line = bytes(self._line)
        self._line.clear()
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        if name:  # else a comment
            self._size += len(line)
            self._field(name, value.removeprefix(b" ").decode("utf-8", "replace"))
        return None

    def _field(self, name: bytes, value: str) -> None:
        match name:
            case b"event":
                self._event = value
            case b"data":
                self._data.append(value)
            case b"id" if "\0" not in value:
                self._id = value
            case b"retry" if value.isascii() and value.isdigit():
                # more digits than a year has milliseconds are nobody's pause, and `int` refuses thousands of them
                self.retry_ms = int(value[:11])
            case _:
                pass

    def _dispatch(self) -> RawEvent | None:
        self.last_event_id = self._id
        event, data = self._event or "message", self._data
        self._event, self._data, self._size = "", [], 0
        if not data:
            return None
        return RawEvent(event, "\n".join(data), self._id)
