"""Admission: how many, how often, for whom, and that every place is given back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from milepost.errors import MilepostError, RateLimited, Unavailable
from milepost.model import Identity
from milepost.server import limits
from milepost.server.limits import Admission, Lease, Window
from milepost.settings import Settings

ANNA = Identity(user="anna", tenant="acme")
BEN = Identity(user="ben", tenant="acme")
OTHER = Identity(user="anna", tenant="beta")


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.seconds = 6000.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def door(clock: Callable[[], float] | None = None, **overrides: Any) -> Admission:
    """An admission without a rate limit, unless the test sets one."""
    settings = Settings.load(**({"connect_rate": 0} | overrides))
    return Admission(settings, now=clock or Clock())


def refusal(admission: Admission, identity: Identity, address: str | None = None) -> MilepostError:
    """The error that a connect gets."""
    with pytest.raises((RateLimited, Unavailable)) as caught:
        admission.connect(identity, address)
    return caught.value


def test_a_place_is_given_back_exactly_once() -> None:
    """However often a lease is released, the counts return to what they were, and nothing is kept of the user."""
    admission = door()
    first, second = admission.connect(ANNA, None), admission.connect(ANNA, None)
    assert (admission.streams, admission.streams_of(ANNA), admission.streams_of(OTHER)) == (2, 2, 0)
    for _ in range(3):
        first.release()
    assert (admission.streams, admission.streams_of(ANNA)) == (1, 1)
    second.release()
    assert (admission.streams, admission.users.streams, admission.tenants.streams) == (0, {}, {})


@pytest.mark.parametrize(
    ("overrides", "code", "blocked", "free"),
    [
        ({"max_streams": 2}, "overloaded", [ANNA, BEN, OTHER], []),
        ({"max_streams_per_user": 2}, "rate_limited", [ANNA], [BEN, OTHER]),
        ({"max_streams_per_tenant": 2}, "rate_limited", [ANNA, BEN], [OTHER]),
        ({"tenants": {"acme": {"max_streams_per_user": 2}}}, "rate_limited", [ANNA], [BEN, OTHER]),
        ({"tenants": {"acme": {"max_streams_per_tenant": 2}}}, "rate_limited", [ANNA, BEN], [OTHER]),
        ({"max_streams_per_user": 1, "tenants": {"acme": {"max_streams_per_user": 2}}}, "rate_limited", [ANNA], [BEN]),
    ],
)
def test_bounds_on_open_streams(
    overrides: dict[str, Any], code: str, blocked: list[Identity], free: list[Identity]
) -> None:
    """With two streams of one user open, exactly those who share the full bound are refused, until one closes."""
    admission = door(**overrides)
    leases = [admission.connect(ANNA, None) for _ in range(2)]
    for identity in blocked:
        error = refusal(admission, identity)
        assert error.code == code
        assert error.retry_after is not None
        assert 5 <= error.retry_after <= 10
    assert admission.streams == 2
    for identity in free:
        admission.connect(identity, None).release()
    leases[0].release()
    assert isinstance(admission.connect(ANNA, None), Lease)


def test_those_who_are_refused_together_return_apart() -> None:
    """A hundred refusals at one moment name many different times."""
    admission = door(max_streams=1)
    admission.connect(ANNA, None)
    waits = {refusal(admission, BEN).retry_after for _ in range(100)}
    assert len(waits) > 90


def test_the_rate_of_a_user() -> None:
    """Three connects a minute and no more, however quickly they close; other users are not touched."""
    clock = Clock()
    admission = door(clock, connect_rate=3)
    for _ in range(3):
        admission.connect(ANNA, None).release()
    error = refusal(admission, ANNA)
    assert (error.code, admission.streams) == ("rate_limited", 0)
    for identity in (BEN, OTHER):
        admission.connect(identity, None).release()
    clock.seconds += 120
    admission.connect(ANNA, None)


def test_the_rate_of_a_tenant_is_twenty_times_a_users() -> None:
    """20 users at the rate of one fill the tenant; what one user tries in vain takes nothing from it."""
    admission = door(connect_rate=2)
    for _ in range(2):
        admission.connect(ANNA, None).release()
    for _ in range(100):
        refusal(admission, ANNA)
    for n in range(19):
        for _ in range(2):
            admission.connect(Identity(user=f"u{n}", tenant="acme"), None).release()
    assert refusal(admission, BEN).code == "rate_limited"
    admission.connect(OTHER, None)


def test_the_rate_of_an_address() -> None:
    """Attempts from one address count together, who ever they are, also those that were never told apart."""
    admission = door(connect_rate=3)
    admission.connect(ANNA, "192.0.2.1")
    admission.connect(OTHER, "192.0.2.1")
    admission.attempt("192.0.2.1")
    assert refusal(admission, BEN, "192.0.2.1").code == "rate_limited"
    with pytest.raises(RateLimited):
        admission.attempt("::ffff:192.0.2.1")
    admission.connect(BEN, "192.0.2.2")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", False),
        (None, None, False),
        ("/run/milepost.sock", "/run/milepost.sock", False),
    ],
)
def test_what_counts_as_one_address(one: str | None, other: str | None, together: bool) -> None:
    """An IPv6 /64 is one party; what is no address is not counted."""
    admission = door(connect_rate=1)
    admission.attempt(one)
    if together:
        with pytest.raises(RateLimited):
            admission.attempt(other)
    else:
        admission.attempt(other)


def test_no_rate_means_no_limit() -> None:
    """CONNECT_RATE 0 counts nothing; a tenant may have none where others do, and the other way round."""
    admission = door(connect_rate=0, tenants={"beta": {"connect_rate": 1}})
    for _ in range(1000):
        admission.connect(ANNA, "192.0.2.1").release()
    admission.connect(OTHER, "192.0.2.1")
    refusal(admission, OTHER, "192.0.2.1")


@pytest.mark.parametrize("start", [6000.0, 6012.3, 6059.9])
@pytest.mark.parametrize("limit", [1, 3, 120])
def test_never_more_than_the_limit_in_a_minute_and_the_wait_is_enough(start: float, limit: int) -> None:
    """Trying all the time gets the limit's rate and not more; who waits as told is let in, and hardly earlier."""
    window, now, admitted = Window(), start, []
    while now < start + 300:
        wait = window.hit("key", limit, now)
        if wait == 0.0:
            admitted.append(now)
        else:
            assert 0 < wait <= 120
            assert limit < 3 or window.hit("key", limit, now + wait * 0.9) > 0
            now += wait + 1e-6
            assert window.hit("key", limit, now) == 0.0
            admitted.append(now)
        now += 0.25
    assert len(admitted) >= (4 if limit > 1 else 2) * limit
    # the minute before counts as if spread evenly, so a burst at its end can weigh up to twice
    assert all(sum(1 for t in admitted if at <= t < at + 60) <= 2 * limit for at in admitted)


def test_a_flood_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound new keys are let in uncounted, known ones stay limited, and a minute later there is room."""
    monkeypatch.setattr(limits, "MAX_COUNTED", 10)
    window = Window()
    assert [window.hit(n, 1, 6000.0) for n in range(100)] == [0.0] * 100
    assert len(window._now) == 10  # noqa: SLF001
    assert window.hit(3, 1, 6001.0) > 0
    assert window.hit(50, 1, 6001.0) == 0.0
    assert window.hit(50, 1, 6121.0) == 0.0
    assert len(window._now) + len(window._before) == 1  # noqa: SLF001


def test_a_connect_is_cheap() -> None:
    """At most 20 µs of the processor for a connect and its release, every limit on: the best of five runs of 2,000."""
    admission = Admission(Settings.load(connect_rate=1_000_000))
    who = [Identity(user=f"u{n}", tenant=f"t{n % 50}") for n in range(2000)]
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for n, identity in enumerate(who):
            admission.connect(identity, f"192.0.2.{n % 250}").release()
        best = min(best, (time.process_time() - begun) / len(who))
    assert best < 20e-6
