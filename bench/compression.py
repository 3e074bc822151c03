"""Would it pay to compress a document once for all streams, as a deflate block that fits any gzip stream?

A block that ends in a full flush refers to nothing before it, so the same bytes could be sent to everybody who accepts
gzip. What each stream's own compressor, as a proxy has one, makes of the same frames stands beside it: it may refer to
what it sent before. What a smaller frame saves a server is some of the cost of writing it, here by the C program.
"""

from __future__ import annotations

import gzip
import itertools
import random
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import orjson

from bench import machine
from bench.load import Remote
from bench.protocol import post
from bench.readers import Readers
from bench.report import Figure, Table
from bench.servers import Limit, document

SIZES = (500, 1_000, 8_000)  # bytes of a frame
FRAMES = 400
STREAMS = 1_000
FRAMING = 70  # bytes that the C program adds
SECONDS = 1.0
TIMES = 3
LEVEL = 6
HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # of a gzip stream, whose trailer is never sent
CHANCE = random.Random(1)
WORDS = ["".join(CHANCE.choices("eeaaiotnsrhldcumfpgwyb", k=CHANCE.randint(2, 10))) for _ in range(2_000)]


def run() -> Sequence[Table]:
    """Measure."""
    bytes_table = Table(
        f"Compression of frames, deflate level {LEVEL}: bytes of one", ("", "as it is", "once for all", "per stream")
    )
    costs = Table(
        f"Compression of frames, deflate level {LEVEL}: µs of the core",
        ("", "once for all", "per stream", "a delivery, as it is", "a delivery, compressed once"),
    )
    with machine.folder() as folder, Limit(folder) as server, Remote(Readers) as readers:
        server.open(readers, [server.stream(n) for n in range(STREAMS)])
        for size in SIZES:
            frames = [_frame(size, number) for number in range(FRAMES)]
            _check(frames)
            once, once_time = _measured(frames, _once)
            own = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
            each, each_time = _measured(frames, partial(_next, own))
            name = f"{size:,} bytes"
            shares = [f"{part:,.0f} ({part / size:.0%})" for part in (once, each)]
            bytes_table.rows.append((name, f"{size:,}", *shares))
            writes = [str(_delivery(server, readers, length)) for length in (size, int(once))]
            costs.rows.append((name, f"{once_time:.1f} µs", f"{each_time:.1f} µs", *writes))
        readers.call("close")
    return [bytes_table, costs]


def _delivery(server: Limit, readers: Remote, size: int) -> Figure:
    """What it costs to write a frame of so many bytes to one stream of many."""
    request = post("/publish", "", "x" * (size - FRAMING))
    found = []
    for _ in range(TIMES):
        used = machine.cpu_seconds(server.pid)
        deliveries = readers.call("broadcast", server.publisher, request, b"event: notification", SECONDS).deliveries
        found.append((machine.cpu_seconds(server.pid) - used) / deliveries * 1e6)
    return Figure(found, " µs")


def _once(frame: bytes) -> bytes:
    """The frame as a block that fits any stream."""
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return deflate.compress(frame) + deflate.flush(zlib.Z_FULL_FLUSH)


def _next(own: zlib._Compress, frame: bytes) -> bytes:
    """The frame as the next block of one stream."""
    return own.compress(frame) + own.flush(zlib.Z_SYNC_FLUSH)


def _measured(frames: Sequence[bytes], compress: Callable[[bytes], bytes]) -> tuple[float, float]:
    """Bytes and microseconds for one frame."""
    began = time.process_time()
    sizes = [len(compress(frame)) for frame in frames]
    return sum(sizes) / len(frames), (time.process_time() - began) / len(frames) * 1e6


def _frame(size: int, number: int) -> bytes:
    """A notification's frame of this size, with ids and a text that differ as real ones do."""
    chance = random.Random(number)
    words = (WORDS[int(chance.paretovariate(0.6)) % len(WORDS)] for _ in itertools.count())  # few are most of a text
    whole = document(f"u{chance.randrange(10_000):05d}")
    note = whole["notification"]
    note["id"], note["seq"], note["rev"] = f"{chance.getrandbits(96):024x}", number, number
    note["title"] = " ".join(itertools.islice(words, 4))
    note["message"] = note["text"] = ""
    head = f"event: notification\nid: {chance.getrandbits(48):012x}.{number}.{chance.getrandbits(40):010x}\ndata: "
    left = (size - len(head) - len(orjson.dumps(whole)) - 2) // 2  # a message is its text, too
    text = " ".join(itertools.islice(words, max(0, left)))[: max(0, left)]
    note["message"] = note["text"] = text
    return head.encode() + orjson.dumps(whole) + b"\n\n"


def _check(frames: Sequence[bytes]) -> None:
    """What is made once and put together in any order is a gzip stream that unpacks to the frames."""
    chosen = random.Random(1).sample(frames, len(frames) // 2)
    unpack = zlib.decompressobj(wbits=31)
    if unpack.decompress(HEAD + b"".join(map(_once, chosen))) != b"".join(chosen):
        raise RuntimeError("blocks that are made once do not fit one stream")
    whole = HEAD + b"".join(map(_once, chosen)) + b"\x03\x00" + zlib.crc32(b"".join(chosen)).to_bytes(4, "little")
    if gzip.decompress(whole + (sum(map(len, chosen)) & 0xFFFFFFFF).to_bytes(4, "little")) != b"".join(chosen):
        raise RuntimeError("the end does not fit")
