"""Who may open one more stream: bounds on how many are open, and on how often somebody connects.

Refused means ``Unavailable`` where the process is full and ``RateLimited`` where a user, a tenant or an address has had
its share; both carry a ``retry_after`` with jitter, so that those who were refused together do not return together.

The rate is counted over a sliding minute in two dictionaries (the minute before counts in part). An attempt that is
refused does not count, and one user's refused attempts take nothing from the tenant. Not promised: limits across
processes; each counts its own.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Final, TypeVar

from milepost.errors import RateLimited, Unavailable
from milepost.model import Identity
from milepost.settings import Settings

Key = TypeVar("Key", bound=Hashable)

MINUTE: Final = 60.0
TENANT_SHARE: Final = 20  # a tenant's rate is this many times a user's
FULL_SECONDS: Final = 5.0  # nobody knows when a stream will end: come back in 5 to 9 s
MAX_COUNTED: Final = 65_536  # users, tenants or addresses counted in a minute; see ``Window``


class Window:
    """How often each key occurred in the last minute.

    Holds at most ``MAX_COUNTED`` keys a minute; a key beyond that is not counted, so a flood of addresses can spend
    no memory, and the bounds on open streams remain.
    """

    def __init__(self) -> None:
        self._number = 0
        self._now: dict[Hashable, int] = {}
        self._before: dict[Hashable, int] = {}

    def hit(self, key: Hashable, limit: int, now: float) -> float:
        """Count one if that keeps within ``limit`` a minute: 0.0; else the seconds until it would."""
        number, part = divmod(now, MINUTE)
        if number != self._number:
            self._before = self._now if number == self._number + 1 else {}
            self._now = {}
            self._number = int(number)
        counted, before = self._now.get(key, 0), self._before.get(key, 0)
        passed = part / MINUTE
        if counted + 1 + before * (1 - passed) > limit:
            return MINUTE * _minutes_to_wait(counted, before, limit, passed)
        if counted or len(self._now) < MAX_COUNTED:
            self._now[key] = counted + 1
        return 0.0


def _minutes_to_wait(counted: int, before: int, limit: int, passed: float) -> float:
    if counted + 1 <= limit:  # the minute before still weighs too much
        return max(0.0, 1 - (limit - 1 - counted) / before - passed)
    return 1 - passed + max(0.0, 1 - (limit - 1) / counted)


class Lease:
    """One open stream's place. ``release`` gives it back, once, however often it is called."""

    __slots__ = ("_admission", "_tenant", "_user")

    def __init__(self, admission: Admission, tenant: str, user: str) -> None:
        self._admission: Admission | None = admission
        self._tenant = tenant
        self._user = user

    def release(self) -> None:
        """The stream is over."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._give_back(self._tenant, self._user)  # noqa: SLF001 - two halves of one thing


class Admission:
    """The door of one process. Use within one event loop."""

    def __init__(self, settings: Settings, *, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now = now
        self._streams = 0
        self._of_user: dict[tuple[str, str], int] = {}
        self._of_tenant: dict[str, int] = {}
        self._user_rate = Window()
        self._tenant_rate = Window()
        self._address_rate = Window()

    @property
    def streams(self) -> int:
        """Open streams of this process."""
        return self._streams

    def streams_of(self, identity: Identity) -> int:
        """Open streams of this user on this process."""
        return self._of_user.get((identity.tenant, identity.user), 0)

    def connect(self, identity: Identity, address: str | None) -> Lease:
        """A place for one more stream. Raises ``Unavailable`` or ``RateLimited``; then nothing is held."""
        if self._streams >= self._settings.max_streams:
            raise Unavailable(retry_after=_spread(FULL_SECONDS))
        tenant, who = identity.tenant, (identity.tenant, identity.user)
        own = self._settings.of_tenant(tenant)
        self.attempt(address)
        if own.connect_rate:
            now = self._now()
            _refuse_after(self._user_rate.hit(who, own.connect_rate, now))
            _refuse_after(self._tenant_rate.hit(tenant, own.connect_rate * TENANT_SHARE, now))
        of_user, of_tenant = self._of_user.get(who, 0), self._of_tenant.get(tenant, 0)
        if own.max_streams_per_user is not None and of_user >= own.max_streams_per_user:
            raise RateLimited("This user has too many open streams.", retry_after=_spread(FULL_SECONDS))
        if own.max_streams_per_tenant is not None and of_tenant >= own.max_streams_per_tenant:
            raise RateLimited("This tenant has too many open streams.", retry_after=_spread(FULL_SECONDS))
        self._streams += 1
        self._of_user[who] = of_user + 1
        self._of_tenant[tenant] = of_tenant + 1
        return Lease(self, tenant, identity.user)

    def attempt(self, address: str | None) -> None:
        """Count an attempt from an address: for who was refused before it was known who it is.

        ``connect`` does this itself. Raises ``RateLimited``. An address that is none (a UNIX socket) is not counted.
        """
        limit = self._settings.connect_rate
        network = _network(address) if limit and address else None
        if network is not None:
            _refuse_after(self._address_rate.hit(network, limit, self._now()))

    def _give_back(self, tenant: str, user: str) -> None:
        self._streams -= 1
        _decrease(self._of_user, (tenant, user))
        _decrease(self._of_tenant, tenant)


def _decrease(counts: dict[Key, int], key: Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


@lru_cache(maxsize=4096)
def _network(address: str) -> str | None:
    """What one party is taken to hold: an IPv4 address, or an IPv6 /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return ip.exploded[:19]
        ip = ip.ipv4_mapped
    return str(ip)


def _refuse_after(seconds: float) -> None:
    if seconds:
        raise RateLimited(retry_after=_spread(max(1.0, seconds)))


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.2)  # the answer spreads it further
