"""The server: an ASGI application over one engine, and how ``milepost serve`` runs it.

streams (plain ASGI)  ─┐
api (FastAPI)         ─┼─▶ services: ledger · queries · hub · leases ─▶ engine
static, health, metrics┘
"""

from __future__ import annotations

from milepost.server.app import create_app
from milepost.server.run import serve

__all__ = ["create_app", "serve"]
