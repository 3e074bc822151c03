"""The public keys behind a JWKS_URL, fetched when first needed and kept.

Promises: one fetch at a time and, whatever tokens arrive, one in ``RETRY_SECONDS``; https or loopback only, no
redirects, a deadline, a size limit; keys that are known go on working for ``KEEP_SECONDS`` while the address does not
answer; ``find`` never blocks.

Not promised: that a key which appears at the address is known here at once. Publish it ``RETRY_SECONDS`` before
anything is signed with it, as issuers do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import logging
import threading
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from milepost.errors import Invalid, Unavailable
from milepost.settings import is_loopback, jwks_url_problems

RETRY_SECONDS: Final = 30.0
FRESH_SECONDS: Final = 600.0
KEEP_SECONDS: Final = 24 * 3600.0
UNKNOWN_SECONDS: Final = 300.0
FETCH_SECONDS: Final = 3.0
MAX_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 64
MAX_UNKNOWN: Final = 1_000

_log = logging.getLogger("milepost.jwks")

Flight = concurrent.futures.Future[None]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would let whoever answers choose another address, such as one inside the network."""

    def redirect_request(self, *_args: Any) -> None:
        return None


class KeySet:
    """The keys at one address, by their ``kid``.

    ``read`` makes a key of one entry, or None of an entry that is no key for us. Safe for threads and tasks.
    """

    def __init__(
        self,
        url: str,
        read: Callable[[dict[str, Any]], Any | None],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if problems := jwks_url_problems(url):
            raise Invalid(problems[0], field="jwks_url")
        self._url = url
        self._read = read
        self._now = now
        # a proxy from the environment is for the world outside, never for this machine
        direct = [urllib.request.ProxyHandler({})] if is_loopback(urlsplit(url).hostname or "") else []
        self._opener = urllib.request.build_opener(_NoRedirect, *direct)
        self._lock = threading.Lock()
        self._keys: dict[str | None, Any] = {}
        self._asked_at: OrderedDict[str | None, float] = OrderedDict()  # kids that were not there, oldest first
        self._begun_at = float("-inf")  # of the last fetch that succeeded
        self._next_fetch_at = float("-inf")
        self._failing = False
        self._flight: Flight | None = None

    def find(self, kid: str | None) -> Any | None:
        """The key of that name, None where there is none. Raises ``Unavailable`` where nobody can say."""
        with self._lock:
            key = self._pick(kid)
            if key is None and (self._failing or not self._keys):
                wait = max(1.0, self._next_fetch_at - self._now())
                raise Unavailable("The keys that tokens are checked with cannot be had now.", retry_after=wait)
            return key

    def wait(self, kid: str | None) -> None:
        """Block, where that may help, until the keys have been fetched; at most about ``FETCH_SECONDS``."""
        flight = self._wanted(kid)
        if flight is not None:
            concurrent.futures.wait([flight], timeout=FETCH_SECONDS)

    async def prepare(self, kid: str | None) -> None:
        """As ``wait``, without blocking the event loop."""
        flight = self._wanted(kid)
        if flight is not None:
            await asyncio.wait([asyncio.wrap_future(flight)], timeout=FETCH_SECONDS)

    def _pick(self, kid: str | None) -> Any | None:
        if self._now() - self._begun_at > KEEP_SECONDS:
            self._keys = {}
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return None if kid is None else self._keys.get(kid)

    def _wanted(self, kid: str | None) -> Flight | None:
        """Begin a fetch where one is due; what the caller should wait for, None where it need not."""
        with self._lock:
            now = self._now()
            known = self._pick(kid) is not None
            if not self._due(kid, known=known, now=now):
                return None
            if now >= self._next_fetch_at:
                self._next_fetch_at = now + RETRY_SECONDS
                self._flight = Flight()
                # daemon: a server that hangs must not keep this process from ending
                threading.Thread(target=self._fly, args=(self._flight, now), daemon=True).start()
            return None if known else self._flight

    def _due(self, kid: str | None, *, known: bool, now: float) -> bool:
        age = now - self._begun_at
        if known:
            return age >= FRESH_SECONDS
        asked_at = self._asked_at.setdefault(kid, now)
        if len(self._asked_at) > MAX_UNKNOWN:
            self._asked_at.popitem(last=False)
        # was not there when we last looked: no reason to look again soon for the same one
        return self._begun_at < asked_at or age >= UNKNOWN_SECONDS

    def _fly(self, flight: Flight, begun_at: float) -> None:
        flight.set_running_or_notify_cancel()
        try:
            keys = self._fetched()
            with self._lock:
                self._keys, self._begun_at, self._failing = keys, begun_at, False
                for kid in keys:
                    self._asked_at.pop(kid, None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            with self._lock:
                self._failing = True
            _log.warning("keys of JWKS_URL could not be fetched: %s", type(error).__name__)
        finally:
            flight.set_result(None)

    def _fetched(self) -> dict[str | None, Any]:
        """Raises ``OSError`` (HTTP errors and redirects among them), ``HTTPException`` or ``ValueError``."""
        request = urllib.request.Request(self._url, headers={"Accept": "application/json"})  # noqa: S310 - checked in __init__
        ends_at = time.monotonic() + FETCH_SECONDS
        data = b""
        with self._opener.open(request, timeout=FETCH_SECONDS) as answer:
            while chunk := answer.read1(MAX_BYTES):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise ValueError("too large")
                if time.monotonic() > ends_at:  # a timeout of sockets starts anew with every byte
                    raise TimeoutError
        document = orjson.loads(data)
        entries = document.get("keys") if isinstance(document, dict) else None
        keys = {
            entry.get("kid"): key
            for entry in (entries[:MAX_KEYS] if isinstance(entries, list) else ())
            if isinstance(entry, dict)
            and isinstance(entry.get("kid"), str | None)
            and (key := self._read(entry)) is not None
        }
        if not keys:  # an empty answer is a fault of the address, and no reason to sign everybody out
            raise ValueError("no key that fits")
        return keys
