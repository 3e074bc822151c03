"""Which links a browser may safely be sent to: those of notifications (``href``) and of jobs (``output_url``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from milepost.errors import Invalid

MAX_LINK: Final = 2_048

_PARTS = re.compile(r"(?P<first>[^/?#]*)(?P<rest>.*)")
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def check_link(href: str, allowed_origins: Sequence[str], *, field: str = "href") -> None:
    """Raise ``Invalid`` unless ``href`` is a link that a browser may safely be sent to.

    Allowed are relative links (``/x``, ``x``, ``?x``, ``#x``) and ``https://`` links; the latter only to one of
    ``allowed_origins`` where there are any. Not allowed is whatever browsers bend into something else: ``//host``,
    backslashes, blanks and control or invisible characters, a user or password, any other scheme.
    """
    found = problem(href, allowed_origins)
    if found:
        raise Invalid(f"{field}: {found}", field=field)


def problem(href: str, allowed_origins: Sequence[str] = ()) -> str | None:
    """What is wrong with ``href``, as the end of a sentence; None if it may be used. See ``check_link``."""
    if not 0 < len(href) <= MAX_LINK:
        return f"must have 1 to {MAX_LINK:,} characters"
    # isprintable is false for controls, line ends, bidi overrides, lone surrogates and all blanks but the space
    if not href.isprintable() or " " in href:
        return "must not contain blanks, control or invisible characters; write a space as %20"
    if "\\" in href:
        return "must not contain a backslash, which browsers read as a slash"
    if href.startswith("//"):
        return "must not start with //, which leads to another site"
    parts = _PARTS.fullmatch(href)
    if parts is None or ":" not in parts["first"]:
        return None
    scheme, _, after = parts["first"].partition(":")
    if scheme.lower() != "https" or after or not parts["rest"].startswith("//"):
        return "must be relative or start with https://"
    return _authority_problem(re.split(r"[/?#]", parts["rest"][2:], maxsplit=1)[0], allowed_origins)


def _authority_problem(authority: str, allowed_origins: Sequence[str]) -> str | None:
    if "@" in authority:
        return "must not contain a user name or password"
    host = _HOST.fullmatch(authority)
    if host is None or (host["port"] and not 0 < int(host["port"]) < 65536):
        return "must name a host in plain ASCII"
    if allowed_origins and _origin(f"https://{authority}") not in {_origin(origin) for origin in allowed_origins}:
        return "must lead to one of the allowed sites"
    return None


def _origin(text: str) -> str:
    return text.rstrip("/").lower().removesuffix(":443")
