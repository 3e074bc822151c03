"""The command line: ``milepost serve``, ``token``, ``epoch``, ``watch``, ``tail``, ``notify``, ``demo``.

Standard output carries what was asked for, standard error everything else. A command that fails says one sentence and
exits with 1, or with 3 where there was no connection or no access; Ctrl-C exits with 130 and says nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from milepost.errors import Forbidden, MilepostError, NotFound, RateLimited, Unauthenticated, Unavailable
from milepost.model import TERMINAL, Level

if TYPE_CHECKING:
    from milepost.client.consumer import Event
    from milepost.settings import Settings

EXITS: Final[Mapping[str, int]] = {"completed": 0, "failed": 1, "cancelled": 2}
NO_CONNECTION: Final = 3
INTERRUPTED: Final = 130
PATIENCE_SECONDS: Final = 60.0  # `watch` outlives a restart of the server, not its end

app = typer.Typer(
    name="milepost",
    help="Live job progress and notifications, from a worker to a browser.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str, typer.Option("--url", envvar="MILEPOST_URL", metavar="URL", help="Address of the server.", show_envvar=True)
]
Token = Annotated[
    str | None, typer.Option("--token", envvar="MILEPOST_TOKEN", metavar="TOKEN", help="Says who asks (a JWT).")
]
DEFAULT_URL: Final = "http://127.0.0.1:8470"


# --- serving ---------------------------------------------------------------------------------------------------------

# Panel of `serve --help` → setting → what it is. A test holds this table and the settings together.
SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "Where": {
        "engine": "The store, such as sqlite:///milepost.db.",
        "host": "Address to listen on.",
        "port": "Port to listen on; 0 takes a free one.",
        "workers": "Processes that share the port and the store.",
        "admin_host": "Address of the admin listener, which asks for no token: loopback only.",
        "admin_port": "Its port. Without it there is no admin listener.",
        "bridge": "A file that maps existing Redis channels onto jobs.",
    },
    "Who may come in": {
        "secret": "Shared secret of HS256, at least 32 bytes. Better in the environment, where ps does not show it.",
        "jwt_algorithm": "The one algorithm that counts: HS256, RS256, ES256 or EdDSA.",
        "jwt_public_key": "PEM text, or the path of a PEM file.",
        "jwks_url": "Where the public keys are published.",
        "jwt_audience": "What a token's aud must name.",
        "jwt_issuer": "What a token's iss must be.",
        "cookie_name": "The cookie that may carry the token.",
        "allow_query_token": "Accept ?token= on streams whatever the token's lifetime.",
        "allowed_origins": "Other origins whose pages may use the API, with commas.",
        "allowed_link_origins": "Where links may lead. Empty: relative ones and any https.",
    },
    "Streams": {
        "heartbeat_seconds": "The longest silence on a stream.",
        "max_stream_seconds": "A stream ends after 80 to 100 % of this, and its client resumes.",
        "max_streams": "Streams of one process.",
        "max_streams_per_user": "Streams of one user.",
        "max_streams_per_tenant": "Streams of one tenant.",
        "connect_rate": "Connects a minute, for each user and each address; 0: no limit.",
        "body_limit": "Size of a request's body, such as '64 KiB'.",
        "poll_seconds": "How often a browser polls that may not stream.",
        "long_poll_seconds": "How long a long poll is held; at most 30.",
        "drain_seconds": "Over how long a stopping server spreads the ends of its streams.",
    },
    "Who streams and who polls": {
        "enable_sse_notifications": "The switch.",
        "stream_rollout_percent": "How many of the users stream.",
        "stream_tenants": "Tenants whose users stream whatever the percentage.",
        "stream_users": "Users who do; tenant/user where ids repeat between tenants.",
    },
    "Jobs and notifications": {
        "lease_seconds": "How long a running job may be silent before it is stalled.",
        "grace_seconds": "How long it may be stalled before it fails.",
        "job_retention": "How long an ended job is kept, such as 7d.",
        "notification_retention": "How long a notification is kept.",
    },
}


def serve(dev: bool, check: bool, **given: Any) -> None:
    """Run the server until it is told to stop.

    Each setting is a flag here, MILEPOST_<NAME> in the environment, or a key of milepost.toml; the first of these wins.
    """
    with told():
        settings = _settings(dev, given)
        if check:
            raise typer.Exit(_print_check(settings))
        if settings.is_dev and not settings.problems():
            _greet(settings)
        from milepost.server import serve as run

        raise typer.Exit(run(settings))


def _settings(dev: bool, given: Mapping[str, Any]) -> Settings:
    from milepost.settings import Settings

    return Settings.dev(**given) if dev else Settings.load(**given)


def _print_check(settings: Settings) -> int:
    width = max(map(len, settings.masked()))
    for name, value in settings.masked().items():
        told = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        print(plain(f"{name:<{width}}  {told}").rstrip())
    problems = settings.problems()
    for problem in problems:
        print(f"milepost: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _greet(settings: Settings) -> None:
    from milepost.auth import issue_token

    token = issue_token(settings.secret or "", user="dev", scope="consume produce:any admin", ttl=86_400)
    print("milepost: --dev: a secret that everybody knows, on loopback only", file=sys.stderr)
    print(f'export MILEPOST_URL=http://{settings.host}:{settings.port} MILEPOST_TOKEN="{token}"', flush=True)


def _flags() -> Iterator[inspect.Parameter]:
    """The parameters of ``serve``: two of its own, then one for each setting."""
    from milepost.settings import Settings

    def flag(name: str, kind: Any, default: Any, *names: str, **options: Any) -> inspect.Parameter:
        annotation = Annotated[kind, typer.Option(*names, **options)]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    yield flag("dev", bool, False, "--dev", help="On this machine only, with a secret that everybody knows.")
    yield flag("check", bool, False, "--check", help="Print the settings in force and what is wrong with them; exit.")
    for panel, settings in SETTINGS.items():
        for name, told in settings.items():
            option = "--" + name.replace("_", "-")
            default = Settings.model_fields[name].default
            more = "" if default in (None, (), True, False) else f" [dim]\\[default: {default}][/dim]"
            shown: dict[str, Any] = {"help": told + more, "rich_help_panel": panel, "show_default": False}
            if isinstance(default, bool):
                yield flag(name, bool | None, None, f"{option}/--no-{option[2:]}", **shown)
            else:
                # As text: numbers, times and sizes are read by the settings themselves.
                yield flag(name, str | None, None, option, metavar="", **shown)


serve.__signature__ = inspect.Signature(list(_flags()))  # type: ignore[attr-defined]
app.command()(serve)


@app.command()
def token(
    user: Annotated[str, typer.Option(metavar="ID", help="Whose token it is (sub).")],
    tenant: Annotated[str, typer.Option(metavar="ID", help="The user's tenant.")] = "default",
    scope: Annotated[str, typer.Option(help="consume, produce, produce:any, admin; with spaces.")] = "consume",
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long it counts: seconds, or such as 90s, 12h.")] = "1h",
    jobs: Annotated[str, typer.Option(metavar="IDS", help="Share these jobs, with commas.")] = "",
    dev: Annotated[bool, typer.Option("--dev", help="Sign with the secret of serve --dev.")] = False,
) -> None:
    """Print a token, signed with MILEPOST_SECRET (or the secret in milepost.toml)."""
    with told():
        from milepost.auth import issue_token

        settings = _settings(dev, {})
        if not settings.secret:
            fail("SECRET: none is set; set MILEPOST_SECRET, or use --dev", 2)
        shared = [job for job in jobs.split(",") if job]
        print(issue_token(settings.secret, user=user, tenant=tenant, scope=scope, ttl=_duration(ttl), jobs=shared))


def _duration(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from milepost.settings import Seconds

    try:
        return float(TypeAdapter(Seconds).validate_python(text))
    except ValidationError:
        raise typer.BadParameter(
            'must be seconds, or a time such as "90s", "12h" or "7d"', param_hint="--ttl"
        ) from None


@app.command()
def epoch(
    new: Annotated[bool, typer.Option("--new", help="Draw a new one.")] = False,
    engine: Annotated[str | None, typer.Option(metavar="URL", help="The store; as of serve by default.")] = None,
) -> None:
    """After a store was restored by hand, with the server stopped: make every reader start from a snapshot."""
    if not new:
        raise typer.BadParameter("say --new to draw a new epoch")

    async def renew(url: str) -> None:
        from milepost.engines import open_engine

        store = open_engine(url)
        try:
            await store.renew_epoch()
        finally:
            await store.close()

    with told():
        asyncio.run(renew(_settings(False, {"engine": engine}).engine))


# --- listening -------------------------------------------------------------------------------------------------------


@app.command()
def watch(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id. It may not exist yet.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Follow one job to its end.

    Exits with 0 when it was completed, 1 failed, 2 cancelled, 3 without connection or access.
    """
    with told():
        state = asyncio.run(_watch(url, token, job))
    raise typer.Exit(EXITS[state])


async def _watch(url: str, token: str | None, job_id: str) -> str:
    from milepost.client.consumer import Consumer

    bar = _Bar() if sys.stdout.isatty() else _Lines()
    async with Consumer(url, token=token, patience=PATIENCE_SECONDS) as consumer:
        if not await consumer.exists(job_id):
            print(f"milepost: {job_id} does not exist yet", file=sys.stderr)
        with bar:
            async with aclosing(consumer.follow(job_id)) as events:
                async for event in events:
                    if event.event == "job":
                        seen = event.data["job"]
                        if seen.get("gone"):
                            raise NotFound("the job is no longer yours to see")
                        bar.show(seen)
                        if seen["state"] in TERMINAL:
                            return str(seen["state"])
    raise Unavailable("the stream ended before the job did")


class _Bar:
    """A job on a terminal: one line that moves."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        # Nothing in a job is markup: titles and messages are whatever somebody typed.
        self._progress = Progress(
            TextColumn("{task.fields[state]}", markup=False),
            TextColumn("{task.description}", markup=False, style="bold"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[message]}", markup=False),
            console=Console(markup=False, highlight=False),
        )
        self._task = self._progress.add_task("", total=None, state="", message="")

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        """Draw it as it is now."""
        self._progress.update(
            self._task,
            description=plain(job["title"]),
            total=100.0 if job["percent"] is not None else None,
            completed=job["percent"] or 0.0,
            state=job["state"],
            message=_story(job),
        )


class _Lines:
    """A job in a log: a line for each state, message and whole percent."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, job: Mapping[str, Any]) -> None:
        """Print it where it says something new."""
        percent = None if job["percent"] is None else int(job["percent"])
        new = (job["attempt"], job["state"], percent, _news(job))
        if new != self._last:
            self._last = new
            share = "" if percent is None else f" {percent:>3} %"
            print(f"{job['state']:<9}{share}  {_story(job)}".rstrip(), flush=True)


def _story(job: Mapping[str, Any]) -> str:
    eta = "" if job["eta_seconds"] is None else f"  ({job['eta_seconds']:.0f} s left)"
    return plain(_news(job)) + eta


def _news(job: Mapping[str, Any]) -> str:
    """What there is to say beside state and percent: the end's own words, else the item, else the message."""
    if job["error"] is not None:
        return f"{job['error']['code']}: {job['error']['message']}"
    if job["state"] == "completed" and (job["output_url"] or job["counters"]):
        return str(job["output_url"] or " · ".join(f"{name} {value:,}" for name, value in job["counters"].items()))
    item = job["item"] or {}
    name, told = item.get("name"), item.get("message") or item.get("status")
    if name is None:
        return str(job["message"])
    return f"{name}: {told}" if told else f"{job['message']} · {name}" if job["message"] else str(name)


@app.command()
def tail(
    job: Annotated[str | None, typer.Option("--job", metavar="ID", help="The stream of this job only.")] = None,
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Any stream, below /api.")] = None,
    dialect: Annotated[str, typer.Option(help="The vocabulary of the events.")] = "milepost",
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Resume behind this cursor.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on each line.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Print the events of a stream as they come: by default, all that the token's user is sent."""
    if job is not None and path is not None:
        raise typer.BadParameter("state either --job or --path")
    if job is not None:
        path = f"/jobs/{job}/stream"
    path = "/" + (path or "stream").lstrip("/")
    path = path.removeprefix("/api") if path.startswith("/api/") else path
    with told():
        asyncio.run(_tail(url, token, path, dialect, after, as_json))


async def _tail(url: str, token: str | None, path: str, dialect: str, after: str | None, as_json: bool) -> None:
    from milepost.client.consumer import Consumer

    async with Consumer(url, token=token, patience=PATIENCE_SECONDS) as consumer:
        await consumer.check()
        async with aclosing(consumer.open(path, dialect=dialect, after=after)) as events:
            async for event in events:
                _print_event(event, as_json)


def _print_event(event: Event, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"event": event.event, "cursor": event.cursor, "data": event.data}), flush=True)
    else:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        print(f"{now}  {plain(event.event):<12}  {plain(json.dumps(event.data, ensure_ascii=False))}", flush=True)


# --- speaking --------------------------------------------------------------------------------------------------------


@app.command()
def notify(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whom to tell.")],
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What happened, in a few words.")],
    message: Annotated[str, typer.Option(help="The rest of it.")] = "",
    level: Annotated[str, typer.Option(metavar="LEVEL", help="info, success, warning or error.")] = "info",
    href: Annotated[str | None, typer.Option(metavar="LINK", help="Where it leads: relative, or https.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Tell one user that something happened, and print the notification's id. Needs the scope produce."""

    async def send() -> str:
        from milepost.client.producer import AsyncMilepost

        async with AsyncMilepost(url, token=token, deadline=5) as live:
            kind: Level = level  # type: ignore[assignment]  # the server says what levels there are
            stored = await live.notify(user, title=title, message=message, level=kind, href=href)
            return stored[0].id

    with told():
        print(asyncio.run(send()))


# --- the example -----------------------------------------------------------------------------------------------------


@app.command()
def demo(
    examples: Annotated[list[str] | None, typer.Argument(help="Which examples; all of them by default.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8470,
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("milepost-demo"),
    engine: Annotated[
        str, typer.Option(help="sqlite; redis or postgres (two hubs, on one that it starts); or the URL of one.")
    ] = "sqlite",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Run the examples: five small applications on one hub, with real work and its progress in the page."""
    with told():
        _run_examples(examples or (), host=host, port=port, data_dir=data_dir, engine=engine, open_browser=open_browser)


def _run_examples(names: Sequence[str], **options: Any) -> None:
    """Runs those that the wheel carries, or the checkout's."""
    import runpy

    places = (Path(__file__).parent / "_demo", Path(__file__).resolve().parents[2] / "examples")
    program = next((place / "__main__.py" for place in places if (place / "__main__.py").is_file()), None)
    if program is None:
        fail("this installation does not carry the examples", 1)
    runpy.run_path(str(program))["run"](names, **options)


# --- telling ---------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text that cannot move a terminal's cursor or colour it: control characters are shown as a dot."""
    return "".join("·" if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} else char for char in text)


def fail(sentence: str, code: int) -> NoReturn:
    """Say it on standard error and exit."""
    print(f"milepost: {plain(sentence)}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Make an error one sentence and an exit code."""
    try:
        yield
    except (Unavailable, RateLimited, Unauthenticated, Forbidden, NotFound) as error:
        fail(error.message, NO_CONNECTION)
    except MilepostError as error:
        fail(error.message, 1)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read (`head`) has enough; Python would say so again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
