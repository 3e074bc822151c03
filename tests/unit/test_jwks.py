"""Keys behind an address, against a real HTTP server that hangs, redirects, floods and rotates."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from milepost import jwks
from milepost.auth import Verifier
from milepost.errors import Invalid, Unauthenticated, Unavailable
from milepost.jwks import KeySet
from milepost.settings import Settings

OLD, NEW = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


def entry(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """One entry of a key set."""
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {**public, **({} if kid is None else {"kid": kid}), **more}


class Issuer:
    """A server of keys. ``answer`` is (status, headers, body); ``hang`` keeps every answer back until it is set."""

    def __init__(self) -> None:
        self.fetches: list[str] = []
        self.hang = threading.Event()
        self.hang.set()
        self.serve(entry(OLD, "old"))
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches.append(self.path)
                issuer.hang.wait(20)
                status, headers, body = issuer.answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    return

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, *entries: object) -> None:
        """Answer with these entries from now on."""
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, json.dumps({"keys": entries}).encode())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """A running issuer."""
    made = Issuer()
    yield made
    made.hang.set()
    made.server.shutdown()
    made.server.server_close()


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def keys(issuer: Issuer, clock: Clock) -> KeySet:
    """A key set whose entries are their own keys, on the test's clock."""
    return KeySet(issuer.url, lambda found: found.get("n"), now=clock)


def ask(key_set: KeySet, kid: str | None) -> Any:
    """The key after waiting for it where that helps."""
    key_set.wait(kid)
    return key_set.find(kid)


def token(key: Any, kid: str | None = "old", algorithm: str = "RS256") -> str:
    """A good token, signed by a key under a name."""
    headers = None if kid is None else {"kid": kid}
    return jwt.encode({"sub": "u7", "exp": int(time.time()) + 60}, key, algorithm=algorithm, headers=headers)


async def test_tokens_are_checked_with_fetched_keys(issuer: Issuer) -> None:
    """The first token fetches the keys, the next ones do not; another key under the same name is refused."""
    verifier = Verifier(Settings.load(jwks_url=issuer.url, jwt_algorithm="RS256"))
    assert issuer.fetches == []
    assert (await verifier.authenticate(token(OLD))).user == "u7"
    assert verifier.verify(token(OLD, None)).user == "u7"  # one key in the set: no name is needed
    for text in (token(NEW), token(OLD, "unknown"), token("x" * 40, algorithm="HS256")):
        with pytest.raises(Unauthenticated) as caught:
            await verifier.authenticate(text)
        assert caught.value.code == "token_invalid"
    assert issuer.fetches == ["/keys"]


async def test_only_keys_for_signatures_of_the_algorithm_count(issuer: Issuer) -> None:
    """Entries for encryption, of other families, weak, private, secret or broken are passed over."""
    elliptic = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    bad = [
        7,
        {},
        {"kty": "RSA", "kid": "a"},
        entry(NEW, "enc", use="enc"),
        entry(NEW, "ps", alg="PS256"),
        entry(weak, "weak"),
        {**elliptic, "kid": "ec"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(NEW)), "kid": "private"},
        {**entry(NEW, None), "kid": ["list"]},
    ]
    issuer.serve(*bad, entry(OLD, "old"))
    verifier = Verifier(Settings.load(jwks_url=issuer.url, jwt_algorithm="RS256"))
    assert (await verifier.authenticate(token(OLD))).user == "u7"
    for kid in ("a", "enc", "ps", "ec", "oct", "private"):
        with pytest.raises(Unauthenticated):
            await verifier.authenticate(token(NEW, kid))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        by_weak_key = token(weak, "weak")
    with pytest.raises(Unauthenticated):
        await verifier.authenticate(by_weak_key)


async def test_a_thousand_at_once_are_one_fetch(issuer: Issuer) -> None:
    """However many tokens wait, from tasks and threads, the keys are fetched once."""
    issuer.hang.clear()
    key_set = keys(issuer, Clock())
    waiting = [asyncio.create_task(key_set.prepare("old")) for _ in range(1000)]
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(ask, key_set, "old") for _ in range(8)]
        await asyncio.sleep(0)
        issuer.hang.set()
        await asyncio.gather(*waiting)
        assert {future.result() for future in found} == {entry(OLD, "old")["n"]}
    assert len(issuer.fetches) == 1


def test_a_flood_of_unknown_names_is_one_fetch_in_30_seconds(issuer: Issuer) -> None:
    """10,000 names that do not exist cost one fetch per 30 s, and a bounded memory."""
    clock = Clock()
    key_set = keys(issuer, clock)
    for seconds in (0, 29, 31):
        clock.seconds = 1000.0 + seconds
        for n in range(3334):
            assert ask(key_set, f"{seconds}-{n}") is None
    assert len(issuer.fetches) == 2
    assert len(key_set._asked_at) == jwks.MAX_UNKNOWN  # noqa: SLF001


def test_the_same_unknown_name_is_looked_up_rarely(issuer: Issuer) -> None:
    """A name that was not there is not looked for again before 5 minutes are over."""
    clock = Clock()
    key_set = keys(issuer, clock)
    for _ in range(299):
        assert ask(key_set, "gone") is None
        clock.seconds += 1
    assert len(issuer.fetches) == 1
    clock.seconds += 1
    ask(key_set, "gone")
    assert len(issuer.fetches) == 2


def test_a_new_key_is_found(issuer: Issuer) -> None:
    """After a rotation the new name is fetched as soon as 30 s have passed since the last fetch."""
    clock = Clock()
    key_set = keys(issuer, clock)
    assert ask(key_set, "old")
    issuer.serve(entry(OLD, "old"), entry(NEW, "new"))
    clock.seconds += 1
    assert ask(key_set, "new") is None
    clock.seconds += 29
    assert ask(key_set, "new") == entry(NEW, "new")["n"]


def test_known_keys_outlive_an_outage(issuer: Issuer) -> None:
    """While the address fails, known keys count for a day, nobody waits, and unknown names get 503, not 401."""
    clock = Clock()
    key_set = keys(issuer, clock)
    assert ask(key_set, "old")
    issuer.answer = (500, {}, b"")
    clock.seconds += jwks.FRESH_SECONDS
    assert ask(key_set, "old")
    deadline = time.monotonic() + 5
    while not key_set._failing and time.monotonic() < deadline:  # noqa: SLF001
        time.sleep(0.005)
    assert ask(key_set, "old")
    with pytest.raises(Unavailable) as caught:
        ask(key_set, "new")
    assert caught.value.retry_after == jwks.RETRY_SECONDS
    clock.seconds += jwks.KEEP_SECONDS
    with pytest.raises(Unavailable):
        ask(key_set, "old")
    issuer.serve(entry(OLD, "old"))
    clock.seconds += 30
    assert ask(key_set, "old")


@pytest.mark.parametrize(
    "answer",
    [
        (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b""),
        (301, {"Location": "/keys2"}, b""),
        (404, {}, b""),
        (200, {}, json.dumps({"keys": [entry(OLD, "old")]}).encode() + b" " * jwks.MAX_BYTES),
        (200, {}, b"not JSON"),
        (200, {}, b"[]"),
        (200, {}, b'{"keys":{}}'),
        (200, {}, b'{"keys":[]}'),
        (200, {}, b'{"keys":[{"kid":"other"}]}'),
        (200, {}, b"[" * 5000),
        (200, {"Content-Length": "99"}, b"{}"),
    ],
)
def test_an_answer_that_is_no_key_set_is_no_answer(issuer: Issuer, answer: tuple[int, dict[str, str], bytes]) -> None:
    """Redirects are not followed; too much, or no keys, is a fault of the address: 503 with Retry-After."""
    issuer.answer = answer
    with pytest.raises(Unavailable) as caught:
        ask(keys(issuer, Clock()), "old")
    assert caught.value.code == "overloaded"
    assert issuer.fetches == ["/keys"]


async def test_a_server_that_hangs_blocks_nobody(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a fetch hangs the event loop goes on, and those who wait are answered at the deadline."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.3)
    issuer.hang.clear()
    key_set = keys(issuer, Clock())
    longest, last = 0.0, time.monotonic()
    waiting = asyncio.create_task(key_set.prepare("old"))
    while not waiting.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.2
    with pytest.raises(Unavailable):
        key_set.find("old")


@pytest.mark.parametrize(
    "url", ["http://id.example/keys", "ftp://127.0.0.1/", "https://u:p@id.example/", "https://", "keys"]
)
def test_an_unsafe_address_is_refused(url: str) -> None:
    """Only https, or loopback, without user and password."""
    with pytest.raises(Invalid):
        KeySet(url, lambda found: found)
