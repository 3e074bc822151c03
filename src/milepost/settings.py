"""Settings: one frozen object from overrides, the environment, ``milepost.toml`` and defaults, in that order.

The environment's names are ``MILEPOST_`` + the field's name in capitals; the file is ``milepost.toml`` in the working
directory, or what ``MILEPOST_CONFIG`` names. Times are seconds, or text such as ``"90s"``, ``"12h"``, ``"7d"``; sizes
are bytes, or text such as ``"64 KiB"``; lists are TOML lists, or text with commas. An unknown key in the file is an
error; so a misspelt limit is never silently the default.

``[kinds.NAME]`` and ``[tenants.NAME]`` in the file override per kind of job and per tenant. What is merely wrong or
unsafe is told by ``Settings.problems``; a server refuses to start while it says anything.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from milepost import dialects
from milepost.errors import Invalid
from milepost.jobs import DEFAULT_KINDS, KindPolicy, Policy
from milepost.model import ID_PATTERN, is_id

DEV_SECRET: Final = "milepost-dev-secret-not-for-production"  # noqa: S105 - public on purpose, loopback only
MIN_SECRET_BYTES: Final = 32
CONFIG_FILE: Final = "milepost.toml"
CONFIG_VARIABLE: Final = "MILEPOST_CONFIG"

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, None: 1.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB)?")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024, None: 1}
_COOKIE_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"


def _seconds(value: object) -> object:
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip())
        if found is None:
            raise ValueError('must be a number of seconds or a time such as "90s", "12h" or "7d"')
        return float(found[1]) * _SECONDS[found[2]]
    return value


def _bytes(value: object) -> object:
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError('must be a number of bytes or a size such as "64 KiB"')
        return int(found[1]) * _BYTES[found[2]]
    return value


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[\s,]+", value) if word)
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
Deadline = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Percent = Annotated[float, Field(ge=0, le=100)]
DialectName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class KindSettings(BaseModel):
    """``[kinds.NAME]``: deadlines of one kind of job; what is left out stays as it is by default, 0 means none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deadline_seconds: Deadline | None = None
    total_deadline_seconds: Deadline | None = None


class TenantSettings(BaseModel):
    """``[tenants.NAME]``: what one tenant has otherwise; what is left out is as for everybody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dialect: DialectName | None = None
    enable_sse_notifications: bool | None = None
    stream_rollout_percent: Percent | None = None
    max_streams_per_user: int | None = Field(None, gt=0)
    max_streams_per_tenant: int | None = Field(None, gt=0)
    connect_rate: int | None = Field(None, ge=0)


class Settings(BaseSettings):
    """Every setting of a server. Contract section 6 lists names and defaults; a test holds the two together."""

    model_config = SettingsConfigDict(
        env_prefix="MILEPOST_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    # who may come in: exactly one of secret, jwt_public_key, jwks_url
    secret: str | None = None
    jwt_algorithm: Algorithm = "HS256"
    jwt_public_key: str | None = None  # PEM text, or the path of a PEM file
    jwks_url: str | None = None
    jwt_audience: str | None = None  # where set, a token's `aud` must name it; else a token with `aud` is refused
    jwt_issuer: str | None = None
    cookie_name: str = Field("milepost_token", pattern=rf"^{_COOKIE_NAME}$")
    allow_query_token: bool = False
    allowed_origins: Words = ()
    allowed_link_origins: Words = ()  # empty: relative links and any https

    # where
    engine: str = "sqlite:///milepost.db"
    host: str = "127.0.0.1"
    port: int = Field(8470, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    admin_host: str = "127.0.0.1"
    admin_port: int | None = Field(None, ge=0, le=65535)  # None: no admin listener
    bridge: str | None = None  # the file that maps existing Redis channels onto jobs

    # streams
    heartbeat_seconds: Seconds = 15.0
    max_stream_seconds: Seconds = 600.0
    max_streams: int = Field(50_000, gt=0)
    max_streams_per_user: int = Field(20, gt=0)
    max_streams_per_tenant: int = Field(2_000, gt=0)
    connect_rate: int = Field(120, ge=0)  # a minute, per user and address, tenant-wide 20 times that; 0: no limit
    body_limit: Bytes = 64 * 1024
    poll_seconds: Seconds = 5.0
    long_poll_seconds: Annotated[Seconds, Field(le=30)] = 25.0
    drain_seconds: Deadline = 20.0

    # who streams and who polls
    enable_sse_notifications: bool = True
    stream_rollout_percent: Percent = 100.0
    stream_tenants: Words = ()  # stream whatever the percentage says
    stream_users: Words = ()  # likewise; "user", or "tenant/user" where ids repeat between tenants

    # jobs and notifications
    lease_seconds: Seconds = 30.0
    grace_seconds: Seconds = 300.0
    job_retention: Seconds = 7 * 86400.0
    notification_retention: Seconds = 90 * 86400.0

    kinds: dict[str, KindSettings] = Field(default_factory=dict)
    tenants: dict[str, TenantSettings] = Field(default_factory=dict)

    _dev: bool = PrivateAttr(default=False)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """From overrides (None = not given), environment, file and defaults. Raises ``Invalid`` naming each bad one."""
        return cls._made({name: value for name, value in overrides.items() if value is not None})

    @classmethod
    def dev(cls, **overrides: Any) -> Self:
        """As ``load``, but for ``--dev``: the fixed secret, and a problem unless it listens on loopback only."""
        given = {name: value for name, value in overrides.items() if value is not None}
        keys = {"secret": DEV_SECRET, "jwt_algorithm": "HS256", "jwt_public_key": None, "jwks_url": None}
        made = cls._made({**given, **keys})
        made._dev = True  # noqa: SLF001 - its own class
        return made

    @classmethod
    def _made(cls, given: dict[str, Any]) -> Self:
        try:
            return cls(**given)
        except ValidationError as error:
            told = [f"{_name(e['loc'])}: {_sentence(e['msg'])}" for e in error.errors(include_input=False)]
            raise Invalid("; ".join(told), field=_dotted(error.errors()[0]["loc"])) from None
        except SettingsError as error:  # an environment variable that should hold JSON
            raise Invalid(str(error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where values come from, the first that has one wins."""
        del dotenv_settings, file_secret_settings
        stated = os.environ.get(CONFIG_VARIABLE)
        file = Path(stated or CONFIG_FILE)
        if stated and not file.is_file():
            raise Invalid(f"{CONFIG_VARIABLE}: there is no file {stated}", field="config")
        try:
            toml = TomlConfigSettingsSource(settings_cls, file)
        except ValueError as error:  # tomllib's own error says the line
            raise Invalid(f"{file}: {error}", field="config") from None
        return init_settings, env_settings, toml

    # Asked for at every connect, and pydantic takes 3 us to look up an attribute of its own kind.
    @cached_property
    def _everybody(self) -> TenantSettings:
        return TenantSettings(
            **{name: getattr(self, name) for name in TenantSettings.model_fields if name != "dialect"}
        )

    @cached_property
    def _limits(self) -> dict[str, TenantSettings]:
        return {
            tenant: self._everybody.model_copy(update=own.model_dump(exclude_none=True))
            for tenant, own in self.tenants.items()
        }

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """A settings object that gets printed by accident shows no secret."""
        return iter((name.lower(), value) for name, value in self.masked().items())

    @property
    def is_dev(self) -> bool:
        """Whether these were made by ``dev``."""
        return self._dev

    def of_tenant(self, tenant: str) -> TenantSettings:
        """What holds for a tenant, overrides applied: no field is None but perhaps ``dialect``."""
        return self._limits.get(tenant, self._everybody)

    def policy(self) -> Policy:
        """What the rules of jobs need to know."""
        kinds = dict(DEFAULT_KINDS)
        for name, own in self.kinds.items():
            base = kinds.get(name, KindPolicy())
            kinds[name] = KindPolicy(
                _deadline(own.deadline_seconds, base.deadline_seconds),
                _deadline(own.total_deadline_seconds, base.total_deadline_seconds),
            )
        return Policy(lease=self.lease_seconds, grace=self.grace_seconds, retention=self.job_retention, kinds=kinds)

    def streams_allowed(self, tenant: str, user: str) -> bool:
        """Whether this user streams (True) or polls (False).

        The same on every node and after every restart; raising the percentage never moves anybody back to polling.
        The switch ENABLE_SSE_NOTIFICATIONS beats the lists, the lists beat the percentage.
        """
        own = self.of_tenant(tenant)
        if not own.enable_sse_notifications:
            return False
        percent = own.stream_rollout_percent
        if percent is None or percent >= 100:
            return True
        if tenant in self.stream_tenants or user in self.stream_users or f"{tenant}/{user}" in self.stream_users:
            return True
        return rollout_bucket(tenant, user) < percent

    def problems(self) -> list[str]:
        """What is unsafe or wrong, a sentence each, beginning with the setting's name. Empty: fit to serve."""
        return [
            *self._key_problems(),
            *self._listener_problems(),
            *self._worker_problems(),
            *self._bridge_problems(),
            *_origin_problems("ALLOWED_ORIGINS", self.allowed_origins),
            *_origin_problems("ALLOWED_LINK_ORIGINS", self.allowed_link_origins, https_only=True),
            *(f"KINDS: {name!r} cannot be a kind of job" for name in self.kinds if not is_id(name)),
            *(f"TENANTS: {name!r} cannot be a tenant" for name in self.tenants if not is_id(name)),
            *self._dialect_problems(),
            *(f"STREAM_TENANTS: {name!r} cannot be a tenant" for name in self.stream_tenants if not is_id(name)),
            *(
                f"STREAM_USERS: {name!r} is neither a user nor tenant/user"
                for name in self.stream_users
                if re.fullmatch(rf"(?:{ID_PATTERN}/)?{ID_PATTERN}", name) is None
            ),
        ]

    def _key_problems(self) -> list[str]:
        sources = {"SECRET": self.secret, "JWT_PUBLIC_KEY": self.jwt_public_key, "JWKS_URL": self.jwks_url}
        given = [name for name, value in sources.items() if value]
        if not given:
            return ["SECRET: none is set; MILEPOST_SECRET=$(openssl rand -hex 32) makes one, --dev does without"]
        if len(given) > 1:
            return [f"{' and '.join(given)}: only one of them may say which tokens count"]
        if self.secret is not None:
            return self._secret_problems(self.secret)
        if self.jwt_algorithm == "HS256":
            return [f"JWT_ALGORITHM: {given[0]} needs RS256, ES256 or EdDSA"]
        if self.jwks_url is not None:
            return jwks_url_problems(self.jwks_url)
        return []

    def _secret_problems(self, secret: str) -> list[str]:
        out = []
        if self.jwt_algorithm != "HS256":
            out.append(f"JWT_ALGORITHM: {self.jwt_algorithm} needs JWT_PUBLIC_KEY or JWKS_URL, not SECRET")
        if len(secret.encode("utf-8", "surrogateescape")) < MIN_SECRET_BYTES:
            out.append(f"SECRET: shorter than {MIN_SECRET_BYTES} bytes, so tokens could be forged by guessing it")
        elif len(set(secret)) < 8:
            out.append("SECRET: a few characters over and over, so tokens could be forged by guessing it")
        if secret == DEV_SECRET and not self._dev:
            out.append("SECRET: the one of --dev, which everybody knows")
        return out

    def _worker_problems(self) -> list[str]:
        if self.workers == 1:
            return []
        if not (hasattr(os, "fork") and hasattr(socket, "SO_REUSEPORT")):
            return ["WORKERS: this system lets one process have the port"]
        return []

    def _bridge_problems(self) -> list[str]:
        if self.bridge is None:
            return []
        from milepost.bridge import checked

        try:
            checked(self.bridge)
        except Invalid as error:
            return [f"BRIDGE: {error.message}"]
        return []

    def _dialect_problems(self) -> list[str]:
        dialects.install()
        return [
            f"TENANTS: {name}: there is no dialect {own.dialect!r}"
            for name, own in self.tenants.items()
            if own.dialect is not None and dialects.dialect(own.dialect) is None
        ]

    def _listener_problems(self) -> list[str]:
        out = []
        if self._dev and not is_loopback(self.host):
            out.append(f"HOST: --dev listens on loopback only, not on {self.host}")
        if self.admin_port is not None and not is_loopback(self.admin_host):
            out.append(f"ADMIN_HOST: {self.admin_host} is public, and the admin listener asks for no token")
        if self.admin_port is not None and self.admin_port == self.port != 0:
            out.append("ADMIN_PORT: the same as PORT")
        return out

    def masked(self) -> dict[str, Any]:
        """Name (in capitals) → effective value, fit to be printed: no secret, no password in a URL."""
        out: dict[str, Any] = {name.upper(): value for name, value in self.model_dump(mode="json").items()}
        if self.secret is not None:
            out["SECRET"] = f"({len(self.secret.encode('utf-8', 'replace'))} bytes, not shown)"
        if self.jwt_public_key is not None and "PRIVATE KEY" in self.jwt_public_key:
            out["JWT_PUBLIC_KEY"] = "(a private key, not shown)"
        out["ENGINE"] = without_password(self.engine)
        if self.jwks_url is not None:
            out["JWKS_URL"] = without_password(self.jwks_url)
        for name in ("KINDS", "TENANTS"):
            own = {key: {k: v for k, v in value.items() if v is not None} for key, value in out[name].items()}
            out[name] = own
        return out


def rollout_bucket(tenant: str, user: str) -> float:
    """Where a user stands in a rollout: 0 ≤ bucket < 100, evenly spread, for ever the same."""
    digest = hashlib.sha256(f"{tenant}/{user}".encode()).digest()
    return int.from_bytes(digest[:6]) * 100.0 / 2**48


def is_loopback(host: str) -> bool:
    """Whether a listener on this host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def without_password(url: str) -> str:
    """A URL fit to be printed: user and password of its authority, and its query, replaced by dots."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    authority = parts.netloc
    if "@" in authority:
        authority = "…@" + authority.rpartition("@")[2]
    return urlunsplit((parts.scheme, authority, parts.path, "…" if parts.query else "", "")) if parts.netloc else url


def _origin_problems(name: str, origins: Iterable[str], *, https_only: bool = False) -> list[str]:
    out = []
    for origin in origins:
        if origin == "*":
            out.append(f"{name}: * would let every web page act for whoever is signed in; name the origins")
            continue
        try:
            parts = urlsplit(origin)
            parts.port  # noqa: B018 - raises where it is no number
        except ValueError:
            parts = urlsplit("")
        schemes = ("https",) if https_only else ("https", "http")
        exact = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme not in schemes or not parts.hostname or "@" in parts.netloc or origin != exact.lower():
            out.append(f"{name}: {origin!r} is not an origin such as https://app.example.com")
    return out


def jwks_url_problems(url: str) -> list[str]:
    """What is wrong with the address of a key set."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ["JWKS_URL: not a URL"]
    if "@" in parts.netloc or parts.fragment:
        return ["JWKS_URL: must have no user, password or fragment"]
    if host and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        return []
    return ["JWKS_URL: must be https, since whoever can change the answer can forge tokens"]


def _deadline(own: float | None, default: float | None) -> float | None:
    return default if own is None else own or None


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join([str(location[0]).upper(), *map(str, location[1:])]) if location else "settings"


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _sentence(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return "is not a setting" if text == "Extra inputs are not permitted" else text
