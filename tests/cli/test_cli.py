"""The command line, as a person or a script meets it: real processes, real exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Protocol

import pytest

from milepost import Milepost
from milepost.cli import SETTINGS, plain
from milepost.settings import Settings
from tests.client.hub import Hub, environment, free_port, wait_until

MILEPOST = [sys.executable, "-m", "milepost"]
SECRET = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A server for all tests here."""
    made = Hub(tmp_path_factory.mktemp("hub"))
    made.start()
    yield made
    made.close()


@pytest.fixture
def mp(hub: Hub) -> Iterator[Milepost]:
    """Somebody who reports."""
    with Milepost(hub.url, token=hub.token("worker", "produce:any")) as made:
        yield made


@pytest.fixture
def job_id() -> str:
    """An id that no other test uses."""
    return f"job-{secrets.token_hex(4)}"


def milepost(
    *arguments: str, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*MILEPOST, *arguments],
        env=environment(COLUMNS="100", **(variables or {})),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Begun(Protocol):
    """Starts a command that goes on, as the listener `user`; it is ended with the test."""

    def __call__(
        self, *arguments: str, user: str = "u7", stdout: int | IO[str] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """The process, with its standard error in a pipe."""
        ...


@pytest.fixture
def begun(hub: Hub) -> Iterator[Begun]:
    """See ``Begun``."""
    with ExitStack() as all_of_them:

        def begin(*arguments: str, user: str = "u7", stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
            token = hub.token(user, "consume produce")
            made = subprocess.Popen(
                [*MILEPOST, *arguments],
                env=environment(MILEPOST_URL=hub.url, MILEPOST_TOKEN=token, TERM="xterm"),
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
            )
            all_of_them.enter_context(made)
            all_of_them.callback(made.kill)
            return made

        yield begin


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "serve", "token", "epoch", "watch", "tail", "notify", "demo"])
def test_help(command: str) -> None:
    """Every command explains itself, and each of its options has a line."""
    told = milepost(*([command] if command else []), "--help")
    assert told.returncode == 0
    assert told.stderr == ""
    for option in re.findall(r"^│ (?:\* +)?(--[a-z-]+)(.*)│$", told.stdout, re.MULTILINE):
        assert re.search(r"[a-z]", option[1]), option


def test_every_setting_is_a_flag() -> None:
    """The flags of ``serve`` are the settings, all of them but the tables of the file, each once."""
    flags = [name for panel in SETTINGS.values() for name in panel]
    assert sorted(flags) == sorted(set(Settings.model_fields) - {"kinds", "tenants"})


def test_without_anything_it_helps() -> None:
    """``milepost`` alone shows what there is."""
    assert "watch" in milepost().stdout


# --- watch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("failed", 1), ("cancelled", 2)])
def test_watch_exits_as_the_job_ended(begun: Begun, mp: Milepost, job_id: str, end: str, code: int) -> None:
    """0 completed, 1 failed, 2 cancelled; in a log each news is a line."""
    mp.start_job(job_id, title="Set", owner="u7", total=2)
    watching = begun("watch", job_id)
    assert watching.stdout is not None
    assert watching.stdout.readline().split() == ["queued", "0", "%"]
    with mp.job(job_id, title="Set") as job:
        job.advance(message="half way")
        while "half way" not in (line := watching.stdout.readline()):
            assert line
        assert "50 %" in line
        if end == "failed":
            job.fail("NO_PAPER", "tray 2")
        elif end == "cancelled":
            mp.cancel(job_id)
        else:
            job.complete(output_url="/x.zip")
    out, err = watching.communicate(timeout=30)
    assert watching.returncode == code, err
    assert out.splitlines()[-1].startswith(end)
    assert {"completed": "/x.zip", "failed": "NO_PAPER: tray 2", "cancelled": ""}[end] in out
    assert err == ""


def test_watch_on_a_terminal(begun: Begun, mp: Milepost, job_id: str) -> None:
    """On a terminal it is one moving line; what stands in a job is neither markup nor a control sequence."""
    with mp.job(job_id, title="[red]T\x1b[31m\x07", owner="u7", total=2) as job:
        job.advance(message="[bold]M\x9b2J")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        watching = begun("watch", job_id, stdout=terminal)
    shown = b""
    try:
        while data := os.read(leader, 65536):
            shown += data
    except OSError:  # the other side has closed
        pass
    os.close(leader)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 0, err
    text = shown.decode()
    assert "[red]T·[31m·" in text
    assert "[bold]M·2J" in text
    assert "100%" in text
    assert "\x07" not in text


def test_watch_waits_for_a_job(begun: Begun, mp: Milepost, job_id: str) -> None:
    """A job that does not exist yet is waited for, and that is said."""
    watching = begun("watch", job_id)
    assert watching.stderr is not None
    assert watching.stderr.readline() == f"milepost: {job_id} does not exist yet\n"
    with mp.job(job_id, title="Set", owner="u7"):
        pass
    watching.communicate(timeout=30)
    assert watching.returncode == 0


def test_no_connection_no_access(hub: Hub) -> None:
    """Without a server, a token, or the right to see it: one sentence and exit code 3, at once."""
    nobody = f"http://127.0.0.1:{free_port()}"
    good = hub.token()
    for arguments, variables in [
        (("watch", "x"), {"MILEPOST_URL": nobody, "MILEPOST_TOKEN": good}),
        (("tail",), {"MILEPOST_URL": nobody, "MILEPOST_TOKEN": good}),
        (("watch", "x"), {"MILEPOST_URL": hub.url}),
        (("watch", "x"), {"MILEPOST_URL": hub.url, "MILEPOST_TOKEN": "nonsense"}),
        (("tail",), {"MILEPOST_URL": hub.url, "MILEPOST_TOKEN": "nonsense"}),
        (("notify", "u7", "x"), {"MILEPOST_URL": hub.url, "MILEPOST_TOKEN": hub.token(scope="consume")}),
    ]:
        told = milepost(*arguments, variables=variables)
        assert told.returncode == 3, (arguments, told.stderr)
        assert told.stdout == ""
        assert re.fullmatch(r"milepost: [^\n]+\n", told.stderr), told.stderr


@pytest.mark.parametrize("arguments", [["watch", "not-there"], ["tail"]])
def test_ctrl_c_is_quiet(begun: Begun, arguments: list[str]) -> None:
    """Ctrl-C ends a listener with 130, without a traceback."""
    listening = begun(*arguments)
    seen = listening.stderr if arguments[0] == "watch" else listening.stdout
    assert seen is not None
    assert seen.readline()
    listening.send_signal(signal.SIGINT)
    _, err = listening.communicate(timeout=30)
    assert listening.returncode == 130
    assert err == ""


# --- tail and notify -------------------------------------------------------------------------------------------------


def test_tail_prints_what_notify_sends(hub: Hub, begun: Begun) -> None:
    """The user's stream, an object on each line with ``--json``; a later ``--after`` goes on behind a cursor."""
    user = f"u-{secrets.token_hex(4)}"
    tailing = begun("tail", "--json", user=user)
    assert tailing.stdout is not None
    first = json.loads(tailing.stdout.readline())
    assert first["event"] == "connected"
    produce = hub.token("worker", "produce")
    told = milepost(
        *("notify", user, "Ready", "--message", "Your audio", "--level", "success", "--href", "/s/9"),
        *("--url", hub.url, "--token", produce),
    )
    assert told.returncode == 0, told.stderr
    for line in tailing.stdout:
        event = json.loads(line)
        if event["event"] == "notification":
            break
    tailing.terminate()
    tailing.communicate(timeout=30)
    note = event["data"]["notification"]
    assert note["id"] == told.stdout.strip()
    assert (note["title"], note["message"], note["level"], note["href"]) == ("Ready", "Your audio", "success", "/s/9")

    milepost("notify", user, "Second\x1b[2J", "--url", hub.url, "--token", produce)
    later = begun("tail", "--after", event["cursor"], user=user)
    assert later.stdout is not None
    lines = iter(later.stdout.readline, "")
    found = next(line for line in lines if " notification " in line)
    later.terminate()
    later.communicate(timeout=30)
    assert "Second" in found
    assert "\x1b" not in found


def test_tail_of_a_job_in_its_dialect(hub: Hub, mp: Milepost, job_id: str) -> None:
    """``--job`` and ``--path`` with ``--dialect``: any stream, in any vocabulary, until it ends."""
    with mp.job(job_id, title="Set", owner="u7", total=1) as job:
        job.advance()
    for where in (["--job", job_id], ["--path", f"/api/jobs/{job_id}/stream"], ["--path", f"jobs/{job_id}/stream"]):
        told = milepost(
            *("tail", *where, "--dialect", "document", "--json", "--url", hub.url, "--token", hub.token("u7")),
        )
        assert told.returncode == 0, told.stderr
        last = json.loads(told.stdout.splitlines()[-1])
        assert last["event"] == "complete"
        assert last["data"]["jobId"] == job_id


def test_tail_into_head(begun: Begun) -> None:
    """A reader that has enough ends it without a complaint, when the next event is written."""
    tailing = begun("tail", "--path", "/stream")
    assert tailing.stdout is not None
    assert "connected" in tailing.stdout.readline()
    tailing.stdout.close()
    assert begun("notify", "u7", "x").wait(30) == 0
    _, err = tailing.communicate(timeout=30)
    assert (tailing.returncode, err) == (0, "")


def test_a_notification_that_is_refused(hub: Hub) -> None:
    """What the server refuses is told in its words, with exit code 1."""
    told = milepost("notify", "u7", "x", "--level", "loud", "--url", hub.url, "--token", hub.token(scope="produce"))
    assert (told.returncode, told.stdout) == (1, "")
    assert "level" in told.stderr


# --- token and serve -------------------------------------------------------------------------------------------------


def test_token(hub: Hub, tmp_path: Path) -> None:
    """A token of the environment's secret, or of ``--dev``; without a secret, or with nonsense, a sentence."""
    made = milepost("token", "--dev", "--user", "u9", "--scope", "consume produce", "--ttl", "90s", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    told = milepost(*("notify", "u9", "x"), variables={"MILEPOST_URL": hub.url, "MILEPOST_TOKEN": made.stdout.strip()})
    assert told.returncode == 0, told.stderr
    with_secret = milepost("token", "--user", "u9", folder=tmp_path, variables={"MILEPOST_SECRET": SECRET})
    assert with_secret.stdout.count(".") == 2
    shared = milepost("token", "--dev", "--user", "u9", "--jobs", "a,b", "--tenant", "acme", folder=tmp_path)
    assert len(shared.stdout) > len(made.stdout) - 40
    for arguments, code, word in [
        (["--user", "u9"], 2, "MILEPOST_SECRET"),
        (["--dev", "--user", "a b"], 1, "user"),
        (["--dev", "--user", "u9", "--scope", "everything"], 1, "everything"),
        (["--dev", "--user", "u9", "--ttl", "soon"], 2, "--ttl"),
        (["--dev"], 2, "--user"),
    ]:
        refused = milepost("token", *arguments, folder=tmp_path)
        assert (refused.returncode, refused.stdout) == (code, ""), refused.stderr
        assert word in refused.stderr


def test_serve_check(tmp_path: Path) -> None:
    """``--check`` prints what is in force, flags before environment before file, secrets masked, and what is wrong."""
    (tmp_path / "milepost.toml").write_text('heartbeat_seconds = 7\npoll_seconds = 8\nhost = "127.0.0.2"\n')
    good = milepost(
        *("serve", "--check", "--poll-seconds", "9s", "--no-enable-sse-notifications"),
        folder=tmp_path,
        variables={"MILEPOST_SECRET": SECRET, "MILEPOST_HEARTBEAT_SECONDS": "6"},
    )
    assert (good.returncode, good.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in good.stdout.splitlines() if " " in line)
    assert (shown["HEARTBEAT_SECONDS"], shown["POLL_SECONDS"], shown["HOST"]) == ("6.0", "9.0", "127.0.0.2")
    assert shown["ENABLE_SSE_NOTIFICATIONS"] == "false"
    assert SECRET not in good.stdout
    bad = milepost("serve", "--check", "--secret", "short", folder=tmp_path)
    assert bad.returncode == 2
    assert "SECRET: shorter" in bad.stderr
    none = milepost("serve", folder=tmp_path)
    assert none.returncode == 2
    assert "SECRET: none is set" in none.stderr
    nonsense = milepost("serve", "--check", "--port", "many", folder=tmp_path)
    assert nonsense.returncode == 1
    assert "PORT" in nonsense.stderr


def test_serve_dev_greets_with_a_token(tmp_path: Path) -> None:
    """``serve --dev`` prints a line that a shell takes as it is; what it says works; SIGTERM ends it with 0."""
    port = str(free_port())
    serving = subprocess.Popen(
        [*MILEPOST, "serve", "--dev", "--port", port],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        assert serving.stderr is not None
        line = serving.stdout.readline()
        given = dict(part.split("=", 1) for part in line.removeprefix("export ").strip().split(" "))
        assert given["MILEPOST_URL"] == f"http://127.0.0.1:{port}"
        given["MILEPOST_TOKEN"] = given["MILEPOST_TOKEN"].strip('"')
        wait_until(lambda: milepost("notify", "u7", "x", variables=given).returncode == 0, seconds=20)
    finally:
        serving.terminate()
        _, err = serving.communicate(timeout=30)
    assert serving.returncode == 0
    assert f"http://127.0.0.1:{port}" in err
    elsewhere = milepost("serve", "--dev", "--host", "0.0.0.0", folder=tmp_path)  # noqa: S104
    assert elsewhere.returncode == 2
    assert "loopback" in elsewhere.stderr
    assert "MILEPOST_TOKEN" not in elsewhere.stdout


def test_a_port_that_is_taken(hub: Hub, tmp_path: Path) -> None:
    """A second server on the port says so and exits with 1."""
    told = milepost("serve", "--dev", "--port", str(hub.port), folder=tmp_path)
    assert told.returncode == 1
    assert f"127.0.0.1:{hub.port}" in told.stderr
    assert "Traceback" not in told.stderr


def test_epoch(tmp_path: Path) -> None:
    """``epoch --new`` makes the cursors of before worthless; without ``--new`` it does nothing."""
    hub = Hub(tmp_path)
    hub.start()
    try:
        with Milepost(hub.url, token=hub.token("u7", "consume produce")) as mp:
            mp.notify("u7", title="x")
            kept = next(event.cursor for event in mp.stream() if event.event == "live")
        hub.stop()
        assert milepost("epoch", "--engine", hub.engine, folder=tmp_path).returncode == 2
        told = milepost("epoch", "--new", "--engine", hub.engine, folder=tmp_path)
        assert told.returncode == 0, told.stderr
        hub.start()
        with Milepost(hub.url, token=hub.token("u7")) as mp:
            reset = next(event for event in mp.stream(after=kept) if event.event == "reset")
        assert reset.data["reason"] == "epoch"
    finally:
        hub.close()


def test_plain_text_moves_no_cursor() -> None:
    """Whatever stands in a title, a terminal is neither coloured nor cleared by it, nor its text turned round."""
    assert plain("a\x1b[2J\x9b1m\x00\r\n\u202eb é 漢") == "a·[2J·1m····b é 漢"
