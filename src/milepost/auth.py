"""Who asks: a token in, an ``Identity`` out, or ``Unauthenticated`` with one of three codes.

``token_malformed``: it cannot be read as a token. ``token_expired``: it was good, and its time is over.
``token_invalid``: everything else; the sentence says what to mend, never what would have been right.

A token is a JWT. The one algorithm and the one source of keys come from the settings, never from the token: ``none``,
another algorithm, a key or a URL in the header, and ``crit`` are refused. ``exp`` and ``sub`` are required. ``tenant``
(default ``default``), ``scope`` (default ``consume``; text with spaces, or a list) and ``jobs`` (a share token: just
these) are ours; scopes that we do not know are ignored.

Not promised: that a token can be called back before it expires. Keep tokens short, an hour or less.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from milepost.errors import Invalid, Unauthenticated
from milepost.jwks import KeySet
from milepost.model import Identity, is_id
from milepost.settings import MIN_SECRET_BYTES, Settings

SCOPES: Final = frozenset({"consume", "produce", "produce:any", "admin"})
QUERY_TOKEN_SECONDS: Final = 120
CLOCK_SKEW_SECONDS: Final = 5.0
MAX_TOKEN_BYTES: Final = 8192
MAX_SHARED_JOBS: Final = 50
CACHED_TOKENS: Final = 20_000
CACHE_SECONDS: Final = 300.0  # so that a key taken out of service stops counting for known tokens too

_MAX_EXP = 2**53
_MIN_RSA_BITS = 2048
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
# what would let a token choose how it is checked; `x5t` and `kid` only name a key and are harmless
_REFUSED_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"})


def issue_token(
    secret: str,
    *,
    user: str,
    tenant: str = "default",
    scope: str = "consume",
    ttl: float = 3600.0,
    jobs: Sequence[str] = (),
) -> str:
    """An HS256 token for a user; ``ttl`` in seconds, ``scope`` separated by spaces. Raises ``Invalid``."""
    key = _hmac_key(secret)
    for field, value in (("user", user), ("tenant", tenant), *(("jobs", job) for job in jobs)):
        if not is_id(value):
            raise Invalid(f"{field} must be 1 to 128 of A-Z a-z 0-9 . _ : -", field=field)
    if len(jobs) > MAX_SHARED_JOBS:
        raise Invalid(f"A token may share at most {MAX_SHARED_JOBS} jobs.", field="jobs")
    if unknown := set(scope.split()) - SCOPES:
        raise Invalid(f"There is no scope {', '.join(sorted(unknown))}.", field="scope")
    if not (math.isfinite(ttl) and ttl > 0):
        raise Invalid("ttl must be a number of seconds above 0.", field="ttl")
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": user,
        "tenant": tenant,
        "scope": scope,
        "iat": now,
        "exp": min(now + math.ceil(ttl), _MAX_EXP),
    }
    if jobs:
        claims["jobs"] = list(jobs)
    return jwt.encode(claims, key, algorithm="HS256")


class Keys(Protocol):
    """Where the key of a token comes from."""

    def find(self, kid: str | None) -> Any | None:
        """The key of that name, or None. Never blocks. Raises ``Unavailable`` where nobody can say."""
        ...

    def wait(self, kid: str | None) -> None:
        """Fetch what ``find`` may need, blocking."""
        ...

    async def prepare(self, kid: str | None) -> None:
        """As ``wait``, without blocking the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class OneKey:
    """A secret or a public key that stands in the settings; a token's ``kid`` does not matter."""

    key: Any

    def find(self, kid: str | None) -> Any | None:
        """The key."""
        del kid
        return self.key

    def wait(self, kid: str | None) -> None:
        """Nothing to wait for."""

    async def prepare(self, kid: str | None) -> None:
        """Nothing to wait for."""


class _Seen(NamedTuple):
    identity: Identity
    in_url: bool  # whether it lives so short, exp - iat, that it may come in a URL
    until: float  # when this entry is to be checked again


class Verifier:
    """Tokens in, identities out. One per server, for threads and tasks alike.

    ``authenticate`` never blocks the event loop; ``verify`` is the same for synchronous callers, and blocks only
    where keys come from a JWKS_URL and have to be fetched. Raises ``Invalid`` at once where the settings' key is of
    the wrong kind.
    """

    def __init__(self, settings: Settings, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._algorithm = settings.jwt_algorithm
        self._audience = settings.jwt_audience
        self._issuer = settings.jwt_issuer
        self._any_query_token = settings.allow_query_token
        self._keys = _keys(settings)
        self._jws = jwt.PyJWS(algorithms=[self._algorithm])
        self._signatures = self._jws.get_algorithm_by_name(self._algorithm)
        # tokens by their hash: those used lately, and those used in the time before that
        self._seen: dict[bytes, _Seen] = {}
        # when to check again those that are seen within the same second: one number for all
        self._looked_at = self._until = 0.0
        self._before: dict[bytes, _Seen] = {}

    def verify(self, token: str, *, query: bool = False) -> Identity:
        """Who the token stands for. ``query``: it came in a URL, so its whole lifetime must be ≤ 120 s.

        Raises ``Unauthenticated``; with a JWKS_URL that does not answer, ``Unavailable``.
        """
        known = self._recall(token, query=query)
        if known is not None:
            return known
        kid = _header(token, self._algorithm)
        self._keys.wait(kid)
        return self._check(token, kid, query=query)

    async def authenticate(self, token: str, *, query: bool = False) -> Identity:
        """As ``verify``, without ever blocking the event loop."""
        known = self._recall(token, query=query)
        if known is not None:
            return known
        kid = _header(token, self._algorithm)
        await self._keys.prepare(kid)
        return self._check(token, kid, query=query)

    def _recall(self, token: str, *, query: bool) -> Identity | None:
        digest = _digest(token)
        seen = self._seen.get(digest)
        if seen is None:
            seen = self._before.pop(digest, None)
            if seen is not None:
                self._remember(digest, seen)
        if seen is None or seen.until <= self._now():
            return None
        self._allow_query(seen, query=query)
        return seen.identity

    def _remember(self, digest: bytes, seen: _Seen) -> None:
        """At most ``CACHED_TOKENS`` are held, and the half of them that was used last."""
        if len(self._seen) >= CACHED_TOKENS // 2:
            self._before, self._seen = self._seen, {}
        self._seen[digest] = seen

    def _check(self, token: str, kid: str | None, *, query: bool) -> Identity:
        key = self._keys.find(kid)
        if key is None:
            raise _invalid("It is signed with a key that this server does not know.")
        seen = self._read(_object(self._signed(token, key)))
        self._allow_query(seen, query=query)
        self._remember(_digest(token), seen)
        return seen.identity

    def _signed(self, token: str, key: Any) -> bytes:
        """The payload of a token whose header was checked and whose signature is right.

        PyJWT examines the key again with every token, and looks at each character in Python: six times the work of the
        signature itself. A token in plain base64url is spared that; what to say of any other one PyJWT decides.
        """
        signed, _, signature = token.rpartition(".")
        payload, proof = _plain(signed.partition(".")[2]), _plain(signature)
        try:
            if payload and proof and self._verified(signed.encode(), key, proof):
                return payload
            return self._jws.decode(token, key, algorithms=[self._algorithm])  # type: ignore[no-any-return]
        except jwt.DecodeError as error:
            if isinstance(error, jwt.InvalidSignatureError):
                raise _invalid("Its signature is wrong.") from None
            raise _malformed() from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, UnsupportedAlgorithm):
            raise _invalid("Its signature cannot be checked.") from None

    def _verified(self, signed: bytes, key: Any, proof: bytes) -> bool:
        if self._algorithm == "HS256":  # in one call of OpenSSL
            return hmac.compare_digest(hmac.digest(key, signed, "sha256"), proof)
        return bool(self._signatures.verify(signed, key, proof))

    def _read(self, claims: dict[str, Any]) -> _Seen:
        now = self._now()
        expires_at, issued_at, begins_at = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf")
        if expires_at is None:
            raise _invalid("It has no exp.")
        if max(issued_at or 0, begins_at or 0) > now + CLOCK_SKEW_SECONDS:
            raise _invalid("It is not valid yet.")
        self._check_addressee(claims)
        identity = Identity(
            user=_id(claims, "sub"),
            tenant=sys.intern(_id(claims, "tenant")) if "tenant" in claims else "default",
            scopes=_scopes(claims),
            jobs=_jobs(claims),
            expires_at=float(expires_at),
        )
        # last: only who would otherwise have come in is told that the time is over
        if expires_at <= now:
            raise Unauthenticated(code="token_expired")
        in_url = issued_at is not None and expires_at - issued_at <= QUERY_TOKEN_SECONDS
        if abs(now - self._looked_at) >= 1:
            self._looked_at, self._until = now, now + CACHE_SECONDS
        return _Seen(identity, in_url, min(identity.expires_at or 0.0, self._until))

    def _check_addressee(self, claims: dict[str, Any]) -> None:
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise _invalid("It comes from another issuer.")
        stated = claims.get("aud")
        if stated is None and self._audience is None:
            return
        audiences = stated if isinstance(stated, list) else [stated]
        # a token that is meant for somebody else must not open this server too (RFC 7519, 4.1.3)
        if self._audience is None or self._audience not in audiences:
            raise _invalid("It is meant for another audience.")

    def _allow_query(self, seen: _Seen, *, query: bool) -> None:
        if query and not seen.in_url and not self._any_query_token:
            raise _invalid(
                f"In a URL only a token that lives {QUERY_TOKEN_SECONDS} s or less, iat to exp, is taken;"
                " send it in Authorization, or use a ticket."
            )


def _keys(settings: Settings) -> Keys:
    if settings.jwks_url is not None:
        if settings.jwt_algorithm == "HS256":
            raise Invalid("JWKS_URL needs JWT_ALGORITHM RS256, ES256 or EdDSA.", field="jwt_algorithm")
        return KeySet(settings.jwks_url, partial(_jwk, algorithm=settings.jwt_algorithm))
    if settings.jwt_public_key is not None:
        return OneKey(_public_key(settings.jwt_public_key, settings.jwt_algorithm))
    if settings.jwt_algorithm != "HS256":
        raise Invalid(f"{settings.jwt_algorithm} needs JWT_PUBLIC_KEY or JWKS_URL.", field="jwt_algorithm")
    return OneKey(_hmac_key(settings.secret or ""))


def _hmac_key(secret: str) -> bytes:
    key = secret.encode("utf-8", "surrogateescape")
    if len(key) < MIN_SECRET_BYTES:
        raise Invalid(f"SECRET must have at least {MIN_SECRET_BYTES} bytes.", field="secret")
    try:
        # refuses a public key in the place of a secret: everybody has it
        return jwt.PyJWS().get_algorithm_by_name("HS256").prepare_key(key)  # type: ignore[no-any-return]
    except jwt.InvalidKeyError:
        raise Invalid("SECRET is a key in PEM or SSH form, not a secret.", field="secret") from None


def _public_key(pem: str, algorithm: str) -> Any:
    """The key of a PEM text or file. Raises ``Invalid`` where it is not a public key that fits the algorithm."""
    if not pem.lstrip().startswith("-----BEGIN"):
        try:
            pem = Path(pem).read_text("ascii")
        except (OSError, ValueError):
            raise Invalid("JWT_PUBLIC_KEY is neither PEM text nor a PEM file.", field="jwt_public_key") from None
    try:
        key = load_pem_public_key(pem.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("JWT_PUBLIC_KEY is not a public key in PEM form.", field="jwt_public_key") from None
    if not _fits(key, algorithm):
        raise Invalid(f"JWT_PUBLIC_KEY is not a key for {algorithm}.", field="jwt_public_key")
    return key


def _jwk(entry: dict[str, Any], *, algorithm: str) -> Any | None:
    """The key of one entry of a key set; None where it is not a public key for signatures of this algorithm."""
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm or "d" in entry or "k" in entry:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if _fits(key, algorithm) else None


def _fits(key: object, algorithm: str) -> bool:
    """Whether a public key is of the algorithm's kind and strong enough."""
    if algorithm == "RS256":
        return isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA_BITS
    if algorithm == "ES256":
        return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    return algorithm == "EdDSA" and isinstance(key, (Ed25519PublicKey, Ed448PublicKey))


def _header(token: str, algorithm: str) -> str | None:
    """Refuse what cannot be a good token before any cryptography; the ``kid`` of the rest."""
    if not 0 < len(token) <= MAX_TOKEN_BYTES or not token.isascii():
        raise _malformed()
    return _kid(token.partition(".")[0], algorithm)


@lru_cache(maxsize=64)
def _kid(segment: str, algorithm: str) -> str | None:
    """The ``kid`` of a header that may be used; an issuer's tokens all have the same one."""
    try:
        header = jwt.get_unverified_header(f"{segment}..")
    except (jwt.DecodeError, ValueError, TypeError, RecursionError):
        raise _malformed() from None
    except jwt.PyJWTError:
        raise _invalid("Its header cannot be used here.") from None
    if header.get("alg") != algorithm:
        raise _invalid("It is signed with another algorithm.")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise _invalid("Its header wants to say how it is to be checked.")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise _invalid("It is a token of another type.")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= 256):
        raise _malformed()
    return kid


def _plain(part: str) -> bytes | None:
    """The bytes of a token's part; None unless it is the one text that they have in base64url without padding."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return None
    return data if base64.urlsafe_b64encode(data).rstrip(b"=") == part.encode() else None


def _object(payload: bytes) -> dict[str, Any]:
    try:
        claims = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise _malformed() from None
    if not isinstance(claims, dict):
        raise _malformed()
    return claims


def _time(claims: dict[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    # an exp of 1e300 would be a token for ever; True is an int in Python
    if type(value) is not int or not 0 <= value <= _MAX_EXP:
        raise _invalid(f"Its {name} is not a whole number of seconds.")
    return value


def _id(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_id(value):
        raise _invalid(f"It has no {name} that can be used here.")
    return str(value)


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    stated = claims.get("scope", "consume")
    if isinstance(stated, str):
        stated = stated.split()
    if not isinstance(stated, list) or not all(isinstance(scope, str) for scope in stated):
        raise _invalid("Its scope is neither text nor a list of texts.")
    return _same(SCOPES.intersection(stated))


@lru_cache(maxsize=64)
def _same(scopes: frozenset[str]) -> frozenset[str]:
    """One object for all who hold the same: thousands of identities do."""
    return scopes


def _jobs(claims: dict[str, Any]) -> tuple[str, ...]:
    stated = claims.get("jobs", [])
    if not isinstance(stated, list) or not all(is_id(job) for job in stated) or len(stated) > MAX_SHARED_JOBS:
        raise _invalid(f"Its jobs are not a list of at most {MAX_SHARED_JOBS} ids.")
    return tuple(dict.fromkeys(stated))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()[:16]  # 128 bits: nobody finds a second one


def _malformed() -> Unauthenticated:
    return Unauthenticated(code="token_malformed")


def _invalid(reason: str) -> Unauthenticated:
    return Unauthenticated(f"The token is not one that this server accepts. {reason}", code="token_invalid")
