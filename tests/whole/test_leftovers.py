"""What the whole run has left behind. pytest takes folders by their names: this one comes last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.process import ADMIN_TOKEN, SECRET, Server, token

CANARY = "canary-7f3a"
TOKEN = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{20,}")
TICKET = re.compile(r"mt_[\w-]{43}")
# which prints a token for whoever is at the terminal, signed with a secret that everybody knows
DEV = "export MILEPOST_URL="


@pytest.fixture
def seen(tmp_path: Path) -> Server:
    """A server that was told much: its log is searched like all others, its metrics besides."""
    server = Server(tmp_path, allow_query_token="true")
    server.start()
    try:
        me = server.someone(f"user-{CANARY}", "t", "consume produce:any")
        me.notify(title=f"title-{CANARY}", message=f"text-{CANARY}")
        me.job(f"job-{CANARY}")
        me.patch(f"/jobs/job-{CANARY}", {"message": f"text-{CANARY}"})
        ticket = me.post("/tickets")["ticket"]
        short = token(me.user, "t", ttl=100.0)
        for query in (f"ticket={ticket}", f"token={short}", f"after={CANARY}&token={short}", f"jobs={CANARY}/&token=x"):
            with server.stream(f"/stream?{query}") as stream:
                assert stream.status in (200, 401)
        metrics = server.http.get("/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}).text
        assert "milepost_commits_total" in metrics
        assert CANARY not in metrics
    finally:
        server.close()
    return server


def test_no_secret_in_any_log(seen: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No log of any process of this run holds a token, a ticket, the secret, or what people wrote."""
    logs = list(tmp_path_factory.getbasetemp().rglob("*.log"))
    assert seen.folder / "server.log" in logs
    found: list[tuple[Path, str]] = []
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            told = TOKEN.search(line) or TICKET.search(line) or SECRET in line or CANARY in line
            if told and not line.startswith(DEV):
                found.append((log, line[:200]))
    assert not found
