"""One-time tickets: one use, thirty seconds, and never more than their owner's."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest

from milepost.errors import Invalid, RateLimited, Unauthenticated
from milepost.model import Identity
from milepost.tickets import Tickets

WHO = Identity(user="u7", tenant="acme", scopes=frozenset({"consume"}), jobs=("a", "b"))


def test_a_ticket_opens_once() -> None:
    """256 random bits stand for the identity for 30 s and for one use, and are held hashed only."""
    tickets = Tickets()
    ticket, seconds = tickets.issue(WHO)
    assert seconds == 30
    assert len(base64.urlsafe_b64decode(ticket.removeprefix("mt_") + "=")) == 32
    assert ticket not in repr(vars(tickets))
    assert tickets.redeem(ticket) == (WHO, ())
    with pytest.raises(Unauthenticated) as caught:
        tickets.redeem(ticket)
    assert caught.value.code == "token_invalid"
    assert len(tickets) == 0


def test_of_a_hundred_uses_at_once_one_opens() -> None:
    """A ticket that is used by many threads at once opens for exactly one."""
    tickets = Tickets()
    ticket, _ = tickets.issue(WHO)

    def opens(_: int) -> bool:
        try:
            tickets.redeem(ticket)
        except Unauthenticated:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(opens, range(100))) == 1


def test_a_ticket_ends_with_its_time_or_its_tokens() -> None:
    """After 30 s, or when the token behind it has expired, a ticket is worth nothing."""
    clock = [1000.0]
    tickets = Tickets(now=lambda: clock[0])
    late, _ = tickets.issue(WHO)
    brief, _ = tickets.issue(Identity(user="u8", expires_at=1010.0))
    clock[0] = 1010.0
    with pytest.raises(Unauthenticated) as caught:
        tickets.redeem(brief)
    assert caught.value.code == "token_expired"
    clock[0] = 1030.0
    with pytest.raises(Unauthenticated) as caught:
        tickets.redeem(late)
    assert caught.value.code == "token_expired"


def test_a_ticket_only_ever_narrows() -> None:
    """Jobs of a ticket are a filter: they give no audience, and take away shared jobs that are not among them."""
    tickets = Tickets()
    identity, only = tickets.redeem(tickets.issue(WHO, ["b", "foreign", "b"])[0])
    assert only == ("b", "foreign")
    assert identity.jobs == ("b",)
    assert "job:foreign" not in identity.audiences
    for jobs in (["*"], ["a b"], [f"j{n}" for n in range(51)]):
        with pytest.raises(Invalid):
            tickets.issue(WHO, jobs)


@pytest.mark.parametrize(
    "text", ["", "mt_", "x" * 46, "mt_" + "é" * 43, "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "mt_" + "A" * 44, "\ud800" * 46]
)
def test_what_is_no_ticket_cannot_be_read(text: str) -> None:
    """Text of another form is ``token_malformed``."""
    with pytest.raises(Unauthenticated) as caught:
        Tickets().redeem(text)
    assert caught.value.code == "token_malformed"


def test_a_flood_of_tickets_is_refused_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user's flood stops at the user's bound, all users' at the common one; what was issued still opens."""
    monkeypatch.setattr("milepost.tickets.MAX_TICKETS_PER_USER", 5)
    monkeypatch.setattr("milepost.tickets.MAX_TICKETS", 12)
    clock = [1000.0]
    tickets = Tickets(now=lambda: clock[0])
    mine, _ = tickets.issue(WHO)
    flood = [tickets.issue(Identity(user=f"x{n // 5}"))[0] for n in range(11)]
    with pytest.raises(RateLimited) as caught:
        tickets.issue(Identity(user="y"))
    assert caught.value.retry_after == 30
    assert tickets.redeem(mine)[0] == WHO
    clock[0] += 15
    tickets.redeem(flood[0])
    tickets.issue(Identity(user="x0"))
    with pytest.raises(RateLimited):
        tickets.issue(Identity(user="x0"))
    clock[0] += 15  # the first ones are over: there is room again
    assert tickets.issue(Identity(user="x1"))[1] == 30
    assert len(tickets) == 2
    clock[0] += 30
    tickets.issue(Identity(user="z"))
    assert tickets._of_user == {("default", "z"): 1}  # noqa: SLF001
