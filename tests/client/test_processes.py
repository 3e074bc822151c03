"""Forks, pools and the end of the process: each in a real process of its own."""

from __future__ import annotations

import secrets
import subprocess
import sys
import textwrap

import pytest

from tests.client.hub import Hub, environment, wait_until

BEGIN = """
import multiprocessing, os, sys, threading
from milepost import Milepost
mp = Milepost()
job_id, user = sys.argv[1:]

def notes(*titles):
    for title in titles:
        mp.notify(user, title=title)

def joined(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


@pytest.fixture
def job_id() -> str:
    """An id that no other test uses."""
    return f"job-{secrets.token_hex(4)}"


@pytest.fixture
def user() -> str:
    """A user whom no other test tells anything."""
    return f"u-{secrets.token_hex(4)}"


def run(hub: Hub, program: str, *arguments: str, code: int = 0, url: str | None = None) -> None:
    """Run a program to its end, which is this exit code."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + textwrap.dedent(program), *arguments],
        env=environment(MILEPOST_URL=url or hub.url, MILEPOST_TOKEN=hub.token("worker", "consume produce:any")),
        cwd=hub.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr


def titles(hub: Hub, user: str) -> list[str]:
    """What the user alone was told, oldest first."""
    return [note["title"] for note in hub.notes(user)]


@pytest.mark.parametrize("way", ["server", "engine"])
def test_a_fork_has_connections_of_its_own(hub: Hub, job_id: str, user: str, way: str) -> None:
    """A client that was in use before ``os.fork`` works in the child and goes on working in the parent."""
    run(
        hub,
        """
        notes("before")
        pid = os.fork()
        if pid == 0:
            notes("child")
            with mp.job(job_id, title="Set", total=2) as job:
                job.advance(2)
            mp.close()
            os._exit(0)
        joined(pid)
        notes("after")
        """,
        job_id,
        user,
        url=hub.engine if way == "engine" else hub.url,
    )
    assert titles(hub, user) == ["before", "child", "after"]
    found = hub.job(job_id)
    assert found is not None
    assert (found["state"], found["current"]) == ("completed", 2)


def test_forks_beside_busy_threads(hub: Hub, job_id: str, user: str) -> None:
    """Forks at any moment of a worker that reports all the time: no child inherits a lock that nobody will release."""
    run(
        hub,
        """
        over = threading.Event()
        with mp.job(job_id, title="Set") as job:
            def tick():
                while not over.is_set():
                    job.advance()
            ticking = threading.Thread(target=tick)
            ticking.start()
            for n in range(20):
                pid = os.fork()
                if pid == 0:
                    job.advance()
                    notes(f"child {n}")
                    os._exit(0)
                joined(pid)
            over.set()
            ticking.join()
        """,
        job_id,
        user,
    )
    assert titles(hub, user) == [f"child {n}" for n in range(20)]
    assert (hub.job(job_id) or {})["state"] == "completed"


def test_a_child_does_not_end_its_parents_job(hub: Hub, job_id: str, user: str) -> None:
    """What a child does with a job that was open when it was forked is nothing: not its progress, not its end."""
    run(
        hub,
        """
        with mp.job(job_id, title="Set", total=4) as job:
            job.advance()
            pid = os.fork()
            if pid == 0:
                job.advance(current=3)
                job.__exit__(None, None, None)
                sys.exit(0)  # its exit handlers run, and find nothing to do
            joined(pid)
            assert mp.start_job(job_id, title="x")["job"]["state"] == "running"
            assert job.current == 1
            job.fail("NO_PAPER")
        """,
        job_id,
        user,
    )
    found = hub.job(job_id)
    assert found is not None
    assert (found["state"], found["error"]["code"], found["current"]) == ("failed", "NO_PAPER", 1)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(hub: Hub, job_id: str, user: str, method: str) -> None:
    """A pool's workers report with the module's client, however they were started."""
    program = textwrap.dedent(BEGIN) + textwrap.dedent(
        f"""
        def work(n):
            with mp.job(f"{{job_id}}-{{n}}", title="Part", total=10) as job:
                for _ in range(10):
                    job.advance()
            return job.attempt

        if __name__ == "__main__":
            notes("before")
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                assert pool.map(work, range(4)) == [1] * 4
            notes("after")
        """
    )
    # spawned children import the program again, so it has to be a file
    path = hub.folder / f"{job_id}.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, path, job_id, user],
        env=environment(MILEPOST_URL=hub.url, MILEPOST_TOKEN=hub.token("worker", "consume produce:any")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert titles(hub, user) == ["before", "after"]
    assert [(hub.job(f"{job_id}-{n}") or {})["state"] for n in range(4)] == ["completed"] * 4


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError('unseen')", 1)],
    ids=["end of the program", "exit", "exception"],
)
def test_the_end_of_the_process(hub: Hub, job_id: str, user: str, end: str, code: int) -> None:
    """A job that is open when its process ends fails at once, not after its lease; what it said last is kept."""
    run(
        hub,
        f"""
        job = mp.job(job_id, title="Set", total=9).__enter__()
        job.advance(7, message="last words")
        {end}
        """,
        job_id,
        user,
        code=code,
    )
    found = hub.job(job_id)
    assert found is not None
    assert (found["state"], found["current"], found["message"]) == ("failed", 7, "last words")
    assert found["error"]["message"] == "the process ended"


def test_a_loop_that_broke_at_the_end_of_the_process(hub: Hub, job_id: str, user: str) -> None:
    """An exception in a ``track`` loop that ends the program leaves a failed job."""
    run(
        hub,
        """
        for row in mp.track(range(5), title="Import", id=job_id):
            if row == 3:
                raise ValueError("bad row")
        """,
        job_id,
        user,
        code=1,
    )
    found = hub.job(job_id)
    assert found is not None
    assert (found["state"], found["error"]["code"], found["current"]) == ("failed", "UNEXPECTED", 3)


def test_ctrl_c(hub: Hub, job_id: str, user: str) -> None:
    """Ctrl-C in a block fails its job and ends the program as Ctrl-C does."""
    run(
        hub,
        """
        import signal, time
        with mp.job(job_id, title="Set"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        """,
        job_id,
        user,
        code=-2,
    )
    found = hub.job(job_id)
    assert found is not None
    assert (found["state"], found["error"]["message"]) == ("failed", "KeyboardInterrupt")


def test_an_object_that_is_dropped_ends_its_thread(hub: Hub, job_id: str, user: str) -> None:
    """A client that nobody holds any more leaves no thread behind; a job keeps its client alive."""
    run(
        hub,
        """
        import gc
        def threads():
            return [t.name for t in threading.enumerate() if t.name == "milepost"]
        notes("x")
        assert len(threads()) == 1
        del notes, mp
        gc.collect()
        assert threads() == []
        with Milepost().job(job_id, title="Set") as job:
            gc.collect()
            job.advance()
        """,
        job_id,
        user,
    )
    assert wait_until(lambda: hub.job(job_id) or {})["state"] == "completed"


def test_importing_costs_little() -> None:
    """``import milepost`` loads nothing of the server, nor an HTTP library before there is something to send."""
    program = """
        import sys
        import milepost
        heavy = {"fastapi", "starlette", "pydantic", "uvicorn", "httpx2", "apsw", "jwt", "rich", "typer", "asyncio"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        from milepost import Milepost
        Milepost("http://127.0.0.1:1")
        heavy.remove("asyncio")
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
