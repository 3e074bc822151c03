"""Settings: names and defaults of the contract, sources and their order, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from milepost.errors import Invalid
from milepost.settings import DEV_SECRET, Settings, is_loopback, rollout_bucket, without_password

SECRET = "correct horse battery staple, and 8 more"


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MILEPOST_{name.upper()}", raising=False)
    monkeypatch.delenv("MILEPOST_CONFIG", raising=False)


# Contract section 6, by hand.
DEFAULTS = {
    "secret": None,
    "engine": "sqlite:///milepost.db",
    "host": "127.0.0.1",
    "port": 8470,
    "workers": 1,
    "admin_host": "127.0.0.1",
    "admin_port": None,
    "heartbeat_seconds": 15,
    "max_stream_seconds": 600,
    "max_streams": 50000,
    "max_streams_per_user": 20,
    "max_streams_per_tenant": 2000,
    "connect_rate": 120,
    "body_limit": 65536,
    "allowed_origins": (),
    "allowed_link_origins": (),
    "allow_query_token": False,
    "cookie_name": "milepost_token",
    "jwt_algorithm": "HS256",
    "jwt_public_key": None,
    "jwks_url": None,
    "poll_seconds": 5,
    "long_poll_seconds": 25,
    "enable_sse_notifications": True,
    "stream_rollout_percent": 100,
    "lease_seconds": 30,
    "grace_seconds": 300,
    "job_retention": 604800,
    "notification_retention": 7776000,
    "drain_seconds": 20,
}
BEYOND = {"bridge", "jwt_audience", "jwt_issuer", "stream_tenants", "stream_users", "kinds", "tenants"}


def test_names_and_defaults_are_the_contracts() -> None:
    """Every name of the contract has its default; what there is beyond them is listed here."""
    settings = Settings.load()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert set(Settings.model_fields) == set(DEFAULTS) | BEYOND


def test_overrides_beat_environment_beats_file_beats_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first source that has a value wins; None in an override means that it was not given."""
    (tmp_path / "milepost.toml").write_text("port = 1\nmax_streams = 2\nconnect_rate = 3\n")
    monkeypatch.setenv("MILEPOST_MAX_STREAMS", "20")
    monkeypatch.setenv("MILEPOST_CONNECT_RATE", "30")
    monkeypatch.setenv("MILEPOST_HOST", "")  # set but empty: as if it were not
    settings = Settings.load(connect_rate=300, port=None)
    assert (settings.port, settings.max_streams, settings.connect_rate) == (1, 20, 300)
    assert settings.host == "127.0.0.1"


def test_the_file_can_stand_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MILEPOST_CONFIG names the file, and one that is not there is refused."""
    monkeypatch.setenv("MILEPOST_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(Invalid, match="MILEPOST_CONFIG"):
        Settings.load()
    (tmp_path / "other.toml").write_text("port = 9\n")
    assert Settings.load().port == 9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 604800),
        ("90s", 90),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("2w", 1209600),
        ("5m", 300),
        ("42", 42),
        (" 1 d ", 86400),
    ],
)
def test_times_are_seconds_or_text(text: str, seconds: float) -> None:
    """A time is a number of seconds, or text with a unit."""
    assert Settings.load(job_retention=text).job_retention == seconds


@pytest.mark.parametrize(("text", "size"), [("64 KiB", 65536), ("1MiB", 1048576), ("100", 100), (2048, 2048)])
def test_sizes_are_bytes_or_text(text: object, size: int) -> None:
    """A size is a number of bytes, or text with a unit."""
    assert Settings.load(body_limit=text).body_limit == size


def test_lists_come_with_commas_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the environment is text with commas or spaces."""
    monkeypatch.setenv("MILEPOST_ALLOWED_ORIGINS", "https://a.example, https://b.example:8443")
    assert Settings.load().allowed_origins == ("https://a.example", "https://b.example:8443")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"port": 65536}, "PORT"),
        ({"port": "http"}, "PORT"),
        ({"job_retention": "7 fortnights"}, "JOB_RETENTION"),
        ({"lease_seconds": 0}, "LEASE_SECONDS"),
        ({"heartbeat_seconds": float("nan")}, "HEARTBEAT_SECONDS"),
        ({"max_streams": -1}, "MAX_STREAMS"),
        ({"long_poll_seconds": 31}, "LONG_POLL_SECONDS"),
        ({"jwt_algorithm": "none"}, "JWT_ALGORITHM"),
        ({"stream_rollout_percent": 101}, "STREAM_ROLLOUT_PERCENT"),
        ({"cookie_name": "a b"}, "COOKIE_NAME"),
        ({"body_limit": "lots"}, "BODY_LIMIT"),
        ({"max_stream": 3}, "MAX_STREAM"),
        ({"tenants": {"acme": {"max_streams": 3}}}, "TENANTS.acme.max_streams"),
        ({"kinds": {"import": {"deadline": 3}}}, "KINDS.import.deadline"),
    ],
)
def test_a_wrong_value_is_named(overrides: dict[str, object], name: str) -> None:
    """What cannot be a setting raises ``Invalid`` that begins with its name."""
    with pytest.raises(Invalid) as caught:
        Settings.load(**overrides)
    assert caught.value.message.startswith(f"{name}: ")


def test_an_error_never_shows_the_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret of the wrong type, or a broken file, is named without being quoted."""
    with pytest.raises(Invalid) as caught:
        Settings.load(secret=[SECRET])
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("MILEPOST_TENANTS", f'{{"secret": "{SECRET}"')
    with pytest.raises(Invalid) as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
    monkeypatch.delenv("MILEPOST_TENANTS")
    (tmp_path / "milepost.toml").write_text(f'secret = "{SECRET}\n')
    with pytest.raises(Invalid, match="line 1") as caught:
        Settings.load()
    assert SECRET not in str(caught.value)


def test_kinds_and_tenants_come_from_the_file(tmp_path: Path) -> None:
    """Sections of the file override per tenant; what they leave out is as for everybody."""
    (tmp_path / "milepost.toml").write_text(
        "[tenants.acme]\n"
        'dialect = "coaching"\nmax_streams_per_user = 3\nconnect_rate = 0\nenable_sse_notifications = false\n'
    )
    settings = Settings.load(max_streams_per_tenant=77)
    acme, other = settings.of_tenant("acme"), settings.of_tenant("other")
    assert (acme.dialect, acme.max_streams_per_user, acme.connect_rate, acme.max_streams_per_tenant) == (
        "coaching",
        3,
        0,
        77,
    )
    assert (other.dialect, other.max_streams_per_user, other.connect_rate) == (None, 20, 120)
    assert not settings.streams_allowed("acme", "u7")
    assert settings.streams_allowed("other", "u7")


def test_policy_carries_lease_retention_and_deadlines_per_kind() -> None:
    """The rules of jobs get these figures; a kind's unset deadline stays as it is by default, 0 takes it away."""
    settings = Settings.load(
        lease_seconds=5,
        grace_seconds="1m",
        job_retention="2d",
        kinds={
            "import": {"total_deadline_seconds": 9},
            "document": {"total_deadline_seconds": 0},
            "render": {"deadline_seconds": "1h"},
        },
    )
    policy = settings.policy()
    assert (policy.lease, policy.grace, policy.retention) == (5, 60, 172800)
    found = {
        kind: (policy.kinds[kind].deadline_seconds, policy.kinds[kind].total_deadline_seconds)
        for kind in ("import", "document", "render")
    }
    assert found == {"import": (300, 9), "document": (None, None), "render": (3600, None)}
    assert Settings.load().policy().kinds["document"].total_deadline_seconds == 60


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({}, "SECRET: none"),
        ({"secret": "x" * 31}, "SECRET: shorter"),
        ({"secret": "ab" * 32}, "SECRET: a few characters"),
        ({"secret": DEV_SECRET}, "SECRET: the one of --dev"),
        ({"secret": SECRET, "jwt_algorithm": "RS256"}, "JWT_ALGORITHM: RS256"),
        ({"jwt_public_key": "key.pem"}, "JWT_ALGORITHM: JWT_PUBLIC_KEY"),
        ({"secret": SECRET, "jwt_public_key": "key.pem"}, "SECRET and JWT_PUBLIC_KEY"),
        ({"secret": SECRET, "jwks_url": "https://id.example/keys"}, "SECRET and JWKS_URL"),
        ({"jwks_url": "http://id.example/keys", "jwt_algorithm": "RS256"}, "JWKS_URL: must be https"),
        ({"jwks_url": "https://u:p@id.example/", "jwt_algorithm": "RS256"}, "JWKS_URL: must have no user"),
        ({"jwks_url": "file:///etc/passwd", "jwt_algorithm": "RS256"}, "JWKS_URL: must be https"),
        ({"secret": SECRET, "allowed_origins": ["*"]}, "ALLOWED_ORIGINS: *"),
        ({"secret": SECRET, "allowed_origins": ["null"]}, "ALLOWED_ORIGINS: 'null'"),
        ({"secret": SECRET, "allowed_origins": ["https://app.example.com/"]}, "ALLOWED_ORIGINS: "),
        ({"secret": SECRET, "allowed_origins": ["https://App.example.com"]}, "ALLOWED_ORIGINS: "),
        ({"secret": SECRET, "allowed_origins": ["https://*.example.com:x"]}, "ALLOWED_ORIGINS: "),
        ({"secret": SECRET, "allowed_link_origins": ["http://files.example"]}, "ALLOWED_LINK_ORIGINS: "),
        ({"secret": SECRET, "admin_host": "0.0.0.0", "admin_port": 9000}, "ADMIN_HOST: 0.0.0.0"),  # noqa: S104
        ({"secret": SECRET, "admin_port": 8470}, "ADMIN_PORT: the same"),
        ({"secret": SECRET, "tenants": {"a/b": {}}}, "TENANTS: 'a/b'"),
        ({"secret": SECRET, "stream_users": "a/b/c"}, "STREAM_USERS: 'a/b/c'"),
    ],
)
def test_what_is_unsafe_is_told(overrides: dict[str, object], told: str) -> None:
    """Each unsafe or contradictory setting is one sentence that begins with its name."""
    problems = Settings.load(**overrides).problems()
    assert len(problems) == 1
    assert problems[0].startswith(told)


@pytest.mark.parametrize(
    "overrides",
    [
        {"secret": SECRET},
        {"secret": SECRET, "host": "0.0.0.0", "allowed_origins": ["https://app.example.com"]},  # noqa: S104
        {"secret": SECRET, "admin_port": 9000, "admin_host": "::1"},
        {"jwks_url": "https://id.example/keys", "jwt_algorithm": "ES256"},
        {"jwks_url": "http://127.0.0.1:9/keys", "jwt_algorithm": "EdDSA"},
    ],
)
def test_what_is_safe_passes(overrides: dict[str, object]) -> None:
    """An ordinary set-up has no problems."""
    assert Settings.load(**overrides).problems() == []


def test_dev_is_for_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """``dev`` always has the fixed secret, and is refused on an address that others can reach."""
    monkeypatch.setenv("MILEPOST_SECRET", SECRET)
    monkeypatch.setenv("MILEPOST_JWKS_URL", "https://id.example/keys")
    settings = Settings.dev(port=0)
    assert (settings.secret, settings.is_dev, settings.problems()) == (DEV_SECRET, True, [])
    assert Settings.dev(host="0.0.0.0").problems()[0].startswith("HOST: --dev")  # noqa: S104
    # a worker process gets the same settings
    assert pickle.loads(pickle.dumps(settings)).problems() == []  # noqa: S301


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example", "", "localhost.example")],  # noqa: S104
)
def test_loopback(host: str, loopback: bool) -> None:
    """Only an address of this machine alone counts as loopback."""
    assert is_loopback(host) is loopback


def test_nothing_printable_shows_a_secret() -> None:
    """``masked``, ``repr`` and ``str`` hold neither the secret nor a password."""
    settings = Settings.load(secret=SECRET, engine="postgresql://app:hunter2@db.example/live?password=hunter3")
    for text in (repr(settings), str(settings), str(settings.masked())):
        assert SECRET not in text
        assert "hunter" not in text
    masked = settings.masked()
    assert masked["ENGINE"] == "postgresql://…@db.example/live?…"
    assert masked["SECRET"] == f"({len(SECRET)} bytes, not shown)"
    assert masked["PORT"] == 8470
    assert set(masked) == {name.upper() for name in Settings.model_fields}


def test_an_engines_path_is_shown_whole() -> None:
    """A URL without an authority has nothing to hide."""
    assert without_password("sqlite:////var/lib/milepost.db") == "sqlite:////var/lib/milepost.db"


def test_settings_cannot_be_changed() -> None:
    """A settings object is frozen."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings.load(), "port", 1)  # noqa: B010


def test_a_rollout_never_moves_anybody_back() -> None:
    """10,000 users land within 2 points of each percentage, and whoever streams at one streams at every higher one."""
    users = [f"user-{n}" for n in range(10_000)]
    before: set[str] = set()
    for percent in (0, 1, 10, 25, 50, 75, 99, 100):
        settings = Settings.load(stream_rollout_percent=percent)
        streaming = {user for user in users if settings.streams_allowed("acme", user)}
        assert abs(len(streaming) / 100 - percent) <= 2
        assert before <= streaming
        before = streaming


def test_the_bucket_is_the_same_for_ever() -> None:
    """Computed once by hand from SHA-256: a node, a restart or a release that disagrees would move users about."""
    assert round(rollout_bucket("default", "u7"), 6) == 6.684927
    assert round(rollout_bucket("acme", "u7"), 6) == 29.422474


def test_lists_go_before_the_percentage_and_the_switch_before_the_lists() -> None:
    """Named tenants and users stream at 0 %, nobody does with the switch off."""
    lists = {"stream_tenants": "acme", "stream_users": ["u1", "beta/u2"]}
    settings = Settings.load(stream_rollout_percent=0, **lists)
    allowed = {who: settings.streams_allowed(*who) for who in (("acme", "x"), ("beta", "u1"), ("beta", "u2"))}
    assert allowed == dict.fromkeys(allowed, True)
    assert not settings.streams_allowed("gamma", "u2")
    assert not Settings.load(enable_sse_notifications=False, **lists).streams_allowed("acme", "u1")
