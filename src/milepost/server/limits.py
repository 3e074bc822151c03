"""Who may open one more stream: bounds on how many are open, and on how often somebody connects.

Refused means ``Unavailable`` where the process is full and ``RateLimited`` where a user, a tenant or an address has had
its share; both carry a ``retry_after`` with jitter, so that those who were refused together do not return together.

The rate is counted over a sliding minute in two dictionaries (the minute before counts in part). An attempt that is
refused does not count, and one user's refused attempts take nothing from the tenant. What other processes count is
added where they tell each other, see ``shares``; this door only looks it up.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from milepost.errors import RateLimited, Unavailable
from milepost.model import Identity
from milepost.settings import Settings

Key = TypeVar("Key", bound=Hashable)

MINUTE: Final = 60.0
TENANT_SHARE: Final = 20  # a tenant's rate is this many times a user's
FULL_SECONDS: Final = 5.0  # nobody knows when a stream will end: come back in 5 to 9 s
MAX_COUNTED: Final = 65_536  # users, tenants or addresses counted in a minute; see ``Window``


class Minutes(NamedTuple):
    """How often one key occurred in a minute that began then, and in the one before."""

    began: float  # on the clock of whoever looks
    counted: int
    before: int

    def weight(self, now: float) -> float:
        """How much of it lies within the last minute, if it was spread evenly."""
        passed = (now - self.began) / MINUTE
        if passed < 1:
            return self.counted + self.before * (1 - max(0.0, passed))
        return self.counted * max(0.0, 2 - passed)


class Elsewhere(NamedTuple):
    """What other processes count for one key: streams in all, and each one's connects."""

    streams: int
    connects: tuple[Minutes, ...]


NOWHERE: Final = Elsewhere(0, ())


class Window:
    """How often each key occurred in the last minute.

    Holds at most ``MAX_COUNTED`` keys a minute; a key beyond that is not counted, so a flood of addresses can spend
    no memory, and the bounds on open streams remain.
    """

    def __init__(self) -> None:
        self._number = 0
        self._now: dict[Hashable, int] = {}
        self._before: dict[Hashable, int] = {}

    def hit(self, key: Hashable, limit: int, now: float, elsewhere: Sequence[Minutes] = ()) -> float:
        """Count one if that keeps within ``limit`` a minute, those elsewhere included: 0.0; else the seconds until it
        would.
        """
        number, part = divmod(now, MINUTE)
        if number != self._number:
            self._turn(int(number))
        counted, before = self._now.get(key, 0), self._before.get(key, 0)
        weight = counted + before * (1 - part / MINUTE)
        if elsewhere:
            weight += sum([minutes.weight(now) for minutes in elsewhere])
        if weight + 1 > limit:
            return _wait([Minutes(number * MINUTE, counted, before), *elsewhere], limit, now)
        if counted or len(self._now) < MAX_COUNTED:
            self._now[key] = counted + 1
        return 0.0

    def minutes(self, key: Hashable, now: float) -> Minutes:
        """What is counted for a key."""
        number = int(now // MINUTE)
        if number != self._number:
            self._turn(number)
        return Minutes(number * MINUTE, self._now.get(key, 0), self._before.get(key, 0))

    def keys(self) -> set[Hashable]:
        """All for which something is counted."""
        return {*self._now, *self._before}

    def _turn(self, number: int) -> None:
        self._before = self._now if number == self._number + 1 else {}
        self._now = {}
        self._number = number


def _wait(counted: Sequence[Minutes], limit: int, now: float) -> float:
    """The seconds until one more keeps within the limit: all that is counted only ever weighs less."""
    too_soon, enough = 0.0, 2 * MINUTE
    for _ in range(28):  # to half a microsecond
        middle = (too_soon + enough) / 2
        if sum([minutes.weight(now + middle) for minutes in counted]) + 1 > limit:
            too_soon = middle
        else:
            enough = middle
    return enough


class Tally:
    """What is counted of one sort of party (users, tenants or addresses), here and elsewhere.

    ``changed`` collects the keys whose counts have changed, where somebody wants to know; else it is None.
    """

    __slots__ = ("changed", "connects", "elsewhere", "streams")

    def __init__(self) -> None:
        self.streams: dict[Any, int] = {}
        self.connects = Window()
        self.elsewhere: dict[Any, Elsewhere] = {}
        self.changed: set[Any] | None = None


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
        self.settings = settings
        self.now = now
        self.streams = 0  # open ones of this process
        self.users = Tally()  # by (tenant, user)
        self.tenants = Tally()
        self.addresses = Tally()

    def streams_of(self, identity: Identity) -> int:
        """Open streams of this user on this process."""
        return self.users.streams.get((identity.tenant, identity.user), 0)

    def connect(self, identity: Identity, address: str | None) -> Lease:
        """A place for one more stream. Raises ``Unavailable`` or ``RateLimited``; then nothing is held."""
        if self.streams >= self.settings.max_streams:
            raise Unavailable(retry_after=_spread(FULL_SECONDS))
        tenant, who = identity.tenant, (identity.tenant, identity.user)
        own = self.settings.of_tenant(tenant)
        self.attempt(address)
        users, tenants = self.users, self.tenants
        if users.changed is not None:
            users.changed.add(who)
        user_elsewhere, tenant_elsewhere = users.elsewhere.get(who, NOWHERE), tenants.elsewhere.get(tenant, NOWHERE)
        if own.connect_rate:
            now = self.now()
            _refuse_after(users.connects.hit(who, own.connect_rate, now, user_elsewhere.connects))
            of_all = own.connect_rate * TENANT_SHARE
            _refuse_after(tenants.connects.hit(tenant, of_all, now, tenant_elsewhere.connects))
        of_user, of_tenant = users.streams.get(who, 0), tenants.streams.get(tenant, 0)
        limit = own.max_streams_per_user
        if limit is not None and of_user + user_elsewhere.streams >= limit:
            raise RateLimited("This user has too many open streams.", retry_after=_spread(FULL_SECONDS))
        limit = own.max_streams_per_tenant
        if limit is not None and of_tenant + tenant_elsewhere.streams >= limit:
            raise RateLimited("This tenant has too many open streams.", retry_after=_spread(FULL_SECONDS))
        self.streams += 1
        users.streams[who] = of_user + 1
        tenants.streams[tenant] = of_tenant + 1
        return Lease(self, tenant, identity.user)

    def attempt(self, address: str | None) -> None:
        """Count an attempt from an address: for who was refused before it was known who it is.

        ``connect`` does this itself. Raises ``RateLimited``. An address that is none (a UNIX socket) is not counted.
        """
        limit = self.settings.connect_rate
        network = _network(address) if limit and address else None
        if network is not None:
            addresses = self.addresses
            elsewhere = addresses.elsewhere.get(network, NOWHERE)
            _refuse_after(addresses.connects.hit(network, limit, self.now(), elsewhere.connects))
            if addresses.changed is not None:
                addresses.changed.add(network)

    def _give_back(self, tenant: str, user: str) -> None:
        self.streams -= 1
        _decrease(self.users.streams, (tenant, user))
        _decrease(self.tenants.streams, tenant)
        if self.users.changed is not None:
            self.users.changed.add((tenant, user))


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
