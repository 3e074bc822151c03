"""The fault proxy does what it says: what the fault tests find is then not its own fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from milepost.testing import wait_until
from tests.faults.proxy import Proxy, proxy_to

GRACE = 0.2  # for how long nothing must come


class Peer:
    """A server that answers each line with the same line, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[tuple[Peer, Proxy]]:
    """A server and the proxy before it."""
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    with proxy_to(server.sockets[0].getsockname()[1]) as proxy:
        yield peer, proxy
    server.close()
    await server.wait_closed()


async def say(line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a line and return its answer; the empty bytes or an error where the connection ended."""
    writer.write(line)
    return await reader.readline()


async def turned_away(port: int) -> bool:
    """Whether a connection ends without a byte."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_passes_and_cuts(peer: tuple[Peer, Proxy]) -> None:
    """Bytes go through both ways; a cut resets what is open, and a new connection works; refused ones do not."""
    _, proxy = peer
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"one\n", reader, writer) == b"one\n"
    assert proxy.sent == {"forth": 4, "back": 4}
    proxy.cut()
    with pytest.raises(ConnectionError):
        await say(b"two\n", reader, writer)
    writer.close()
    proxy.refuse()
    assert await turned_away(proxy.port)
    proxy.heal()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"four\n", reader, writer) == b"four\n"
    assert proxy.open == 1
    writer.close()
    await wait_until(lambda: proxy.open == 0)


async def test_cuts_what_is_idle(peer: tuple[Peer, Proxy]) -> None:
    """A connection that has been silent is reset, one that has just been used is not; only those that are chosen."""
    _, proxy = peer
    idle, idle_end = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"one\n", idle, idle_end) == b"one\n"
    await asyncio.sleep(GRACE)
    busy, busy_end = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"two\n", busy, busy_end) == b"two\n"
    assert proxy.cut_idle(0, lambda: False) == 0
    assert proxy.cut_idle(GRACE) == 1
    with pytest.raises(ConnectionError):
        await say(b"three\n", idle, idle_end)
    assert await say(b"four\n", busy, busy_end) == b"four\n"
    for end in (idle_end, busy_end):
        end.close()


async def test_mute_and_heal(peer: tuple[Peer, Proxy]) -> None:
    """While it is mute nothing comes through and nothing ends; healed, everything comes, late."""
    it, proxy = peer
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"one\n", reader, writer) == b"one\n"
    proxy.mute("back")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(say(b"two\n", reader, writer), GRACE)
    assert it.heard == [b"one\n", b"two\n"]
    proxy.mute()
    writer.write(b"three\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), GRACE)
    assert it.heard == [b"one\n", b"two\n"]
    proxy.heal()
    assert [await reader.readline(), await reader.readline()] == [b"two\n", b"three\n"]
    writer.close()


async def test_lose_reply(peer: tuple[Peer, Proxy]) -> None:
    """The request that was named is carried out, its answer never comes, and nobody else is disturbed."""
    it, proxy = peer
    lost = proxy.lose_reply(b"commit")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"read\n", reader, writer) == b"read\n"
    with pytest.raises(ConnectionError):
        await say(b"commit 1\n", reader, writer)
    writer.close()
    assert lost.is_set()
    assert it.heard == [b"read\n", b"commit 1\n"]
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say(b"commit 2\n", reader, writer) == b"commit 2\n"
    writer.close()


async def test_delay(peer: tuple[Peer, Proxy]) -> None:
    """Each packet is late, both ways."""
    _, proxy = peer
    proxy.delay(0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    began = asyncio.get_running_loop().time()
    assert await say(b"one\n", reader, writer) == b"one\n"
    assert asyncio.get_running_loop().time() - began >= 0.2
    writer.close()
