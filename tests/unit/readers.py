"""A reader straight at the hub: a sink that a test can fill up, and what came through it."""

from __future__ import annotations

from milepost.subscriber import Subscriber
from tests.server.sse_client import Event, Parser


class Reader:
    """A sink (``milepost.subscriber.Sink``) with room for ``room`` more events; None: for any number."""

    chunked = False

    def __init__(self, room: int | None = None) -> None:
        self.parser = Parser()
        self.events: list[Event] = []
        self.ended = False
        self.room = room
        self.subscriber: Subscriber
        self.over = 0  # writes beyond the one that filled it

    def write(self, data: bytes) -> bool:
        """See ``Sink.write``."""
        assert not self.ended, "written to after the end"
        events = list(self.parser.feed(data))
        self.events += events
        if self.room is None:
            return True
        self.over += self.room <= 0
        self.room = max(0, self.room - len(events))
        return self.room > 0

    def end(self) -> None:
        """See ``Sink.end``."""
        self.ended = True

    @property
    def names(self) -> list[str]:
        """The events' names."""
        return [event.name for event in self.events]

    def documents(self, name: str) -> list[object]:
        """The ids of the jobs or notifications, in the order in which they came."""
        return [event.json[name]["id"] for event in self.events if event.name == name]
