"""On what terms a Redis server keeps what it acknowledges, and whether these are the terms that were asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from milepost.engines.redis.address import Durability, Node, away

_log = logging.getLogger("milepost.engine")

OLDEST: Final = (6, 2)
SHARDED: Final = (7, 0)  # since when a cluster has channels that stay on one of its shards


@dataclass(frozen=True, slots=True)
class Server:
    """What is at the other end of a connection."""

    version: tuple[int, ...]
    primary: bool
    cluster: bool


class Watch:
    """Looks at each server that a connection is opened to, says once what it runs with, and refuses what is too little.

    ``relaxed`` takes what there is. ``strict`` wants every commit on the disk before it is acknowledged, and
    ``replicated`` also at a replica; neither lets Redis evict what it has.
    """

    QUESTIONS: ClassVar[tuple[tuple[bytes, ...], ...]] = (
        (b"INFO", b"server"),
        (b"INFO", b"replication"),
        (b"CONFIG", b"GET", b"append*"),
        (b"CONFIG", b"GET", b"maxmemory*"),
    )

    def __init__(self, durability: Durability) -> None:
        self.durability = durability
        self._said: set[str] = set()

    def look(self, node: Node, replies: Sequence[Any]) -> Server:
        """What the answers to ``QUESTIONS`` say. Raises ``Unavailable`` where the server is not one to work with."""
        if isinstance(replies[0], Exception) or isinstance(replies[1], Exception):
            raise away(f"Redis at {node} does not say what it is: {replies[0]}")
        info = _fields(replies[0]) | _fields(replies[1])
        version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
        if version < OLDEST:
            raise away(f"Redis at {node} is version {info['redis_version']}; Milepost needs 6.2 or newer")
        settings = None
        if not any(isinstance(reply, Exception) for reply in replies[2:4]):
            settings = _pairs(replies[2]) | _pairs(replies[3])
        mode = info.get("server_mode", info.get("redis_mode"))  # Valkey 9 has the first only, Redis the second
        server = Server(version, info.get("role") == "master", mode == "cluster")
        if server.primary:
            self._judge(node, info, settings)
        return server

    def _judge(self, node: Node, info: dict[str, str], settings: dict[str, str] | None) -> None:
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = info.get("valkey_version", info["redis_version"])
        if settings is None:
            problems = ["CONFIG is not ours to read, so nobody knows whether it keeps what it acknowledges"]
            keeps = "unknown settings"
        else:
            problems = _problems(settings)
            keeps = ", ".join(
                f"{key} {settings.get(key, '?')}" for key in ("appendonly", "appendfsync", "maxmemory-policy")
            )
        line = f"{name} {version} at {node} runs with {keeps}; durability={self.durability}"
        if line not in self._said:
            self._said.add(line)
            _log.info(line)
            if settings is not None and _evicts(settings):
                _log.warning("%s at %s evicts keys when its memory is full: documents will be lost", name, node)
        if self.durability != "relaxed" and problems:
            raise away(f"durability={self.durability} is not what {name} at {node} gives: {'; '.join(problems)}")


def _evicts(settings: dict[str, str]) -> bool:
    return settings.get("maxmemory", "0") != "0" and settings.get("maxmemory-policy", "").startswith("allkeys")


def _problems(settings: dict[str, str]) -> list[str]:
    """Why an acknowledged commit could be lost on this server."""
    problems = []
    if settings.get("appendonly") != "yes":
        problems.append("appendonly is not yes")
    if settings.get("appendfsync") != "always":
        problems.append("appendfsync is not always")
    if settings.get("maxmemory-policy") != "noeviction":
        problems.append("maxmemory-policy is not noeviction")
    return problems


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _pairs(reply: Sequence[bytes]) -> dict[str, str]:
    texts = [each.decode(errors="replace") for each in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))
