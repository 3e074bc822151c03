"""Tokens and tickets: what opens the door, and a corpus of what must not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from milepost import auth
from milepost.auth import Verifier, issue_token
from milepost.errors import Invalid, Unauthenticated
from milepost.model import Identity
from milepost.settings import Settings

SECRET = "a secret for tests, thirty-two bytes or more"
OTHER = "another secret of the same length, or more .."
NOW = 1_800_000_000


def settings(**overrides: Any) -> Settings:
    """Settings that look at nothing around them but what is given."""
    return Settings.load(**({"secret": SECRET} | overrides))


def verifier(now: float = NOW, **overrides: Any) -> Verifier:
    """A verifier whose clock stands still."""
    return Verifier(settings(**overrides), now=lambda: now)


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: bytes, payload: bytes, secret: str = SECRET) -> str:
    """A token of exactly these bytes, with a right HS256 signature."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def token(secret: str = SECRET, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that is good unless the claims or headers say otherwise; a claim of None is left out."""
    header = {"alg": "HS256", "typ": "JWT"} | (headers or {})
    everything = {"sub": "u7", "iat": NOW - 10, "exp": NOW + 50} | claims
    payload = {name: value for name, value in everything.items() if value is not None}
    return raw(json.dumps(header).encode(), json.dumps(payload).encode(), secret)


GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Any) -> str:
    """The public half of a key as PEM."""
    public = key.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(public.public_bytes(serialization.Encoding.PEM, form).decode())


def another(algorithm: str) -> Any:
    """A private key for an algorithm that nobody has seen before."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


def last_bit_flipped(text: str) -> str:
    """The same bytes in another base64 text: the last character's unused bits differ."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


M, E, X = "token_malformed", "token_expired", "token_invalid"
CORPUS: dict[str, tuple[str, str]] = {
    # cannot be read
    "empty": ("", M),
    "space": (" ", M),
    "one word": ("token", M),
    "two parts": (f"{HEAD}.{BODY}", M),
    "four parts": (f"{GOOD}.x", M),
    "five parts, as if encrypted": (f"{HEAD}.{BODY}.{SIGNATURE}.{BODY}.{SIGNATURE}", M),
    "only dots": ("..", M),
    "many dots": ("." * 8000, M),
    "no header": (f".{BODY}.{SIGNATURE}", M),
    "text around it": (f" {GOOD}", M),
    "line end after it": (f"{GOOD}\n", M),
    "NUL in it": (f"{HEAD}.{BODY}\0.{SIGNATURE}", M),
    "Bearer twice": (f"Bearer {GOOD}", M),
    "quoted": (f'"{GOOD}"', M),
    "plain base64 characters": (f"{HEAD}.{BODY}.{'+/' + SIGNATURE[2:]}", M),
    "padding in the middle": (f"{HEAD}=.{BODY}.{SIGNATURE}", M),
    "junk in the signature": (f"{HEAD}.{BODY}.{SIGNATURE[:5]}!{SIGNATURE[5:]}", M),
    "unused bits of the signature": (f"{HEAD}.{BODY}.{last_bit_flipped(SIGNATURE)}", M),
    "letters of another alphabet": (GOOD.replace("e", "е", 1), M),
    "full-width letters": (GOOD.replace("J", "Ｊ", 1), M),
    "lone surrogate": (GOOD + "\ud800", M),
    "right-to-left override": ("\u202e" + GOOD, M),
    "too long": (token(pad="x" * 9000), M),
    "very long": ("a" * 1_000_000, M),
    "header no JSON": (raw(b"{", b"{}"), M),
    "header a list": (raw(b'["HS256"]', b"{}"), M),
    "header a number": (raw(b"1", b"{}"), M),
    "header null": (raw(b"null", b"{}"), M),
    "header not UTF-8": (raw(b'{"alg":"\xff"}', b"{}"), M),
    "header nested deep": (raw(b'{"alg":"HS256","x":' + b"[" * 2500 + b"]" * 2500 + b"}", b"{}"), M),
    "kid a number": (token(headers={"kid": 7}), X),
    "kid a list": (token(headers={"kid": ["a"]}), X),
    "kid very long": (token(headers={"kid": "k" * 300}), M),
    "payload no JSON": (raw(b'{"alg":"HS256"}', b"sub=u7"), M),
    "payload empty": (raw(b'{"alg":"HS256"}', b""), M),
    "payload a list": (raw(b'{"alg":"HS256"}', b"[]"), M),
    "payload text": (raw(b'{"alg":"HS256"}', b'"u7"'), M),
    "payload nested deep": (raw(b'{"alg":"HS256"}', b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}"), M),
    "payload with NaN": (raw(b'{"alg":"HS256"}', b'{"sub":"u7","exp":NaN}'), M),
    "payload with a lone surrogate": (raw(b'{"alg":"HS256"}', rb'{"sub":"\ud800","exp":1900000000}'), M),
    "payload not UTF-8": (raw(b'{"alg":"HS256"}', b'{"sub":"\xff"}'), M),
    # signed by nobody, by somebody else, or in another way
    "no signature": (f"{HEAD}.{BODY}.", X),
    "signature of something else": (f"{HEAD}.{BODY}.{token(sub='u8').split('.')[2]}", X),
    "signature cut short": (f"{HEAD}.{BODY}.{SIGNATURE[:40]}", X),
    "signature of zeros": (f"{HEAD}.{BODY}.{b64(bytes(32))}", X),
    "payload of another token": (f"{HEAD}.{token(sub='admin').split('.')[1]}.{SIGNATURE}", X),
    "another secret": (token(OTHER), X),
    "another secret, and expired": (token(OTHER, exp=NOW - 5), X),
    "empty secret": (token(""), X),
    "alg none": (token(headers={"alg": "none"}), X),
    "alg none, no signature": (token(headers={"alg": "none"}).rpartition(".")[0] + ".", X),
    "alg None": (token(headers={"alg": "None"}), X),
    "alg nOnE": (token(headers={"alg": "nOnE"}), X),
    "alg empty": (token(headers={"alg": ""}), X),
    "alg null": (token(headers={"alg": None}), X),
    "alg a list": (token(headers={"alg": ["HS256"]}), X),
    "alg missing": (raw(b'{"typ":"JWT"}', b"{}"), X),
    "alg in small letters": (token(headers={"alg": "hs256"}), X),
    "alg HS384": (jwt.encode({"sub": "u7", "exp": NOW + 50}, SECRET + "0123", algorithm="HS384"), X),
    "alg RS256 by their own key": (jwt.encode({"sub": "u7", "exp": NOW + 50}, RSA_KEY, algorithm="RS256"), X),
    "alg EdDSA by their own key": (jwt.encode({"sub": "u7", "exp": NOW + 50}, ED_KEY, algorithm="EdDSA"), X),
    "key in the header": (token(headers={"jwk": {"kty": "oct", "k": b64(SECRET.encode())}}), X),
    "key set in the header": (token(headers={"jku": "https://evil.example/keys"}), X),
    "certificate in the header": (token(headers={"x5c": ["MIIB"]}), X),
    "certificate's address in the header": (token(headers={"x5u": "https://evil.example/c"}), X),
    "crit": (token(headers={"crit": ["exp"]}), X),
    "crit empty": (token(headers={"crit": []}), X),
    "b64 false": (token(headers={"b64": True}), X),
    "compressed": (token(headers={"zip": "DEF"}), X),
    "another type": (token(headers={"typ": "dpop+jwt"}), X),
    "type a number": (token(headers={"typ": 1}), X),
    "kid as a path, another secret": (token("", headers={"kid": "../../dev/null"}), X),
    "kid as SQL, another secret": (token(OTHER, headers={"kid": "x' UNION SELECT 'y"}), X),
    # signed rightly, and says what cannot be
    "no exp": (token(exp=None), X),
    "exp null": (raw(b'{"alg":"HS256"}', b'{"sub":"u7","exp":null}'), X),
    "exp 1e300": (raw(b'{"alg":"HS256"}', b'{"sub":"u7","exp":1e300}'), X),
    "exp beyond 2**53": (token(exp=2**53 + 1), X),
    "exp beyond any float": (raw(b'{"alg":"HS256"}', b'{"sub":"u7","exp":' + b"9" * 400 + b"}"), M),
    "exp a fraction": (token(exp=NOW + 50.5), X),
    "exp text": (token(exp=str(NOW + 50)), X),
    "exp true": (token(exp=True), X),
    "exp a list": (token(exp=[NOW + 50]), X),
    "exp negative": (token(exp=-1), X),
    "iat in the future": (token(iat=NOW + 60), X),
    "iat text": (token(iat="now"), X),
    "nbf in the future": (token(nbf=NOW + 60), X),
    "nbf a fraction": (token(nbf=1.5), X),
    "no sub": (token(sub=None), X),
    "sub empty": (token(sub=""), X),
    "sub a number": (token(sub=7), X),
    "sub a list": (token(sub=["u7"]), X),
    "sub with a slash": (token(sub="a/b"), X),
    "sub with a space": (token(sub="u7 "), X),
    "sub with a line end": (token(sub="u7\n"), X),
    "sub too long": (token(sub="u" * 129), X),
    "sub with other letters": (token(sub="usér"), X),
    "tenant empty": (token(tenant=""), X),
    "tenant null": (raw(b'{"alg":"HS256"}', b'{"sub":"u7","exp":1800000050,"tenant":null}'), X),
    "tenant with a glob": (token(tenant="*"), X),
    "tenant with braces": (token(tenant="{other}"), X),
    "tenant a list": (token(tenant=["a", "b"]), X),
    "scope a number": (token(scope=1), X),
    "scope an object": (token(scope={"admin": True}), X),
    "scope a list of lists": (token(scope=[["admin"]]), X),
    "jobs text": (token(jobs="case-123"), X),
    "jobs with a glob": (token(jobs=["*"]), X),
    "jobs of numbers": (token(jobs=[1]), X),
    "jobs an object": (token(jobs={"a": 1}), X),
    "jobs too many": (token(jobs=[f"j{n}" for n in range(51)]), X),
    "meant for somebody else": (token(aud="billing"), X),
    "meant for a list of others": (token(aud=["billing", "mail"]), X),
    # was good
    "expired": (token(exp=NOW - 1), E),
    "expires now": (token(exp=NOW), E),
    "expired long ago": (token(iat=1, exp=2), E),
}


def test_the_corpus_is_large() -> None:
    """At least 60 tokens, none twice."""
    assert len({text for text, _ in CORPUS.values()}) == len(CORPUS) >= 60


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("query", [False, True])
async def test_a_forged_or_broken_token_is_refused(name: str, query: bool) -> None:
    """Each is ``Unauthenticated`` with its code, twice over, in both ways of asking, and nothing remembers it."""
    text, code = CORPUS[name]
    checker = verifier()
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            checker.verify(text, query=query)
        assert caught.value.code == code
        with pytest.raises(Unauthenticated) as caught:
            await checker.authenticate(text, query=query)
        assert caught.value.code == code
        assert len(text) < 20 or text[:20] not in caught.value.message


async def test_a_good_token_opens() -> None:
    """The claims become an identity; what is left out has the contract's default."""
    expected = Identity(user="u7", tenant="default", scopes=frozenset({"consume"}), expires_at=NOW + 50.0)
    assert verifier().verify(GOOD) == expected
    assert await verifier().authenticate(GOOD) == expected
    full = token(tenant="acme", scope="consume produce openid", jobs=["a", "b", "a"], kid="whatever")
    assert verifier().verify(full) == Identity(
        user="u7",
        tenant="acme",
        scopes=frozenset({"consume", "produce"}),
        jobs=("a", "b"),
        expires_at=NOW + 50.0,
    )


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("produce:any", {"produce:any"}),
        (["admin", "consume"], {"admin", "consume"}),
        ("", set()),
        ([], set()),
        ("openid profile", set()),
        ("Admin", set()),
    ],
)
def test_scopes_are_text_or_a_list(scope: object, scopes: set[str]) -> None:
    """Unknown scopes are ignored; a scope that is stated is never widened to the default."""
    assert verifier().verify(token(scope=scope)).scopes == scopes


@pytest.mark.parametrize("headers", [{"typ": "at+jwt"}, {"typ": "jwt"}, {"kid": "2026-01"}, {"x5t": "abc"}])
def test_ordinary_headers_do_no_harm(headers: dict[str, Any]) -> None:
    """Other issuers' harmless headers are taken."""
    assert verifier().verify(token(headers=headers)).user == "u7"


def test_clocks_may_differ_a_little() -> None:
    """An issuer whose clock is up to 5 s ahead is believed; nothing is added to exp."""
    assert verifier().verify(token(iat=NOW + 4, nbf=NOW + 4)).user == "u7"
    assert verifier(now=NOW + 49.9).verify(GOOD).expires_at == NOW + 50
    with pytest.raises(Unauthenticated, match="expired"):
        verifier(now=NOW + 50).verify(GOOD)


def test_audience_and_issuer_are_checked_where_set() -> None:
    """With JWT_AUDIENCE a token must name it, with JWT_ISSUER it must come from there."""
    picky = verifier(jwt_audience="milepost", jwt_issuer="https://id.example")
    assert picky.verify(token(aud=["x", "milepost"], iss="https://id.example")).user == "u7"
    wrong: list[dict[str, Any]] = [
        {"iss": "https://id.example"},
        {"aud": "milepost"},
        {"aud": "milepost", "iss": "https://evil"},
    ]
    for claims in wrong:
        with pytest.raises(Unauthenticated) as caught:
            picky.verify(token(**claims))
        assert caught.value.code == "token_invalid"


async def test_in_a_url_only_short_tokens_are_taken() -> None:
    """At most 120 s from iat to exp, also for a token accepted from a header before; the operator may allow any."""
    checker = verifier()
    short, long, undated = token(iat=NOW - 70, exp=NOW + 50), token(iat=NOW - 71, exp=NOW + 50), token(iat=None)
    assert checker.verify(short, query=True).user == "u7"
    for text in (long, undated):
        assert checker.verify(text).user == "u7"
        with pytest.raises(Unauthenticated) as caught:
            checker.verify(text, query=True)
        assert caught.value.code == "token_invalid"
        with pytest.raises(Unauthenticated):
            await checker.authenticate(text, query=True)
        assert checker.verify(text).user == "u7"
        assert verifier(allow_query_token=True).verify(text, query=True).user == "u7"


def test_what_is_remembered_expires_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A remembered token is refused from exp on; the memory has a bound and keeps what was used lately."""
    monkeypatch.setattr(auth, "CACHED_TOKENS", 4)
    clock = [float(NOW)]
    checker = Verifier(settings(), now=lambda: clock[0])
    texts = [token(sub=f"u{n}") for n in range(5)]
    for text in (texts[0], texts[1], texts[2], texts[0], texts[3], texts[4]):
        checker.verify(text)
    remembered = [seen.identity.user for held in (checker._before, checker._seen) for seen in held.values()]  # noqa: SLF001
    assert remembered == ["u2", "u0", "u3", "u4"]
    clock[0] = NOW + 50
    with pytest.raises(Unauthenticated) as caught:
        checker.verify(texts[4])
    assert caught.value.code == "token_expired"


def test_tokens_that_we_issue_are_accepted() -> None:
    """What ``issue_token`` makes, ``Verifier`` takes, with every claim as given."""
    text = issue_token(SECRET, user="u7", tenant="acme", scope="consume produce", ttl=120, jobs=["a"])
    identity = Verifier(settings()).verify(text, query=True)
    assert (identity.user, identity.tenant, identity.scopes, identity.jobs) == (
        "u7",
        "acme",
        frozenset({"consume", "produce"}),
        ("a",),
    )
    assert identity.expires_at is not None
    assert abs(identity.expires_at - time.time() - 120) < 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "x" * 31},
        {"secret": public_pem(RSA_KEY)},
        {"user": "a b"},
        {"tenant": ""},
        {"scope": "root"},
        {"ttl": 0},
        {"ttl": float("inf")},
        {"jobs": ["*"]},
        {"jobs": [f"j{n}" for n in range(51)]},
    ],
)
def test_a_token_that_nobody_would_take_is_not_issued(wrong: dict[str, Any]) -> None:
    """Each wrong argument raises ``Invalid``, and the message holds no secret."""
    good: dict[str, Any] = {"secret": SECRET, "user": "u7"}
    with pytest.raises(Invalid) as caught:
        issue_token(**good | wrong)
    assert str(wrong.get("secret", "\0")) not in caught.value.message


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA_KEY), ("ES256", EC_KEY), ("EdDSA", ED_KEY)])
def test_public_keys(algorithm: str, key: Any, tmp_path: Path) -> None:
    """A token signed with the private half is taken, PEM given as text or as a file; all other families are not."""
    pem = public_pem(key)
    file = tmp_path / "key.pem"
    file.write_text(pem)
    claims = {"sub": "u7", "exp": NOW + 50}
    for stated in (pem, str(file)):
        checker = verifier(secret="", jwt_public_key=stated, jwt_algorithm=algorithm)
        assert checker.verify(jwt.encode(claims, key, algorithm=algorithm)).user == "u7"
        forged = [
            jwt.encode(claims, other, algorithm=name)
            for name, other in (("RS256", RSA_KEY), ("ES256", EC_KEY), ("EdDSA", ED_KEY), ("HS256", SECRET))
            if name != algorithm
        ]
        # the classic: the public key, which everybody has, taken for an HMAC secret
        forged += [
            token(secret, headers={"alg": alg})
            for secret in (pem, pem.strip(), " " + pem, public_pem(rsa.generate_private_key(65537, 2048)))
            for alg in ("HS256", algorithm)
        ]
        forged += [GOOD, jwt.encode(claims, another(algorithm), algorithm=algorithm)]
        for text in forged:
            with pytest.raises(Unauthenticated) as caught:
                checker.verify(text)
            assert caught.value.code == "token_invalid"


@pytest.mark.parametrize(
    ("pem", "algorithm"),
    [
        (public_pem(RSA_KEY), "ES256"),
        (public_pem(EC_KEY), "RS256"),
        (public_pem(ED_KEY), "RS256"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "RS256"),  # noqa: S505
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "ES256"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "RS256"),
        ("no-such-file.pem", "RS256"),
        (
            RSA_KEY.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
            "RS256",
        ),
    ],
)
def test_a_key_that_does_not_fit_is_refused_at_the_start(pem: str, algorithm: str) -> None:
    """A wrong, weak, private or unreadable key raises ``Invalid`` before the first token comes."""
    with pytest.raises(Invalid):
        verifier(secret="", jwt_public_key=pem, jwt_algorithm=algorithm)


@pytest.mark.parametrize("overrides", [{"secret": "short"}, {"secret": ""}, {"jwt_algorithm": "RS256"}])
def test_a_verifier_is_never_made_without_a_key(overrides: dict[str, Any]) -> None:
    """No secret, a short one, or one for another algorithm: refused at the start."""
    with pytest.raises(Invalid):
        verifier(**overrides)
