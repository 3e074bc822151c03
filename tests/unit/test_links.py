from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.commands import Complete, Notify, check
from milepost.errors import Invalid
from milepost.links import MAX_LINK, check_link

GOOD = [
    "/", "/files/case-123.zip", "/files/a%20b.zip", "files/x.zip", "x", "./x", "../x", "?tab=2", "#done",
    "/a?b=c:d#e:f", "/a//b", "/@user", "?next=https://elsewhere.example", "/Ärger/日本", "https://files.example/x",
    "HTTPS://Files.Example/", "https://files.example", "https://files.example?x", "https://files.example#x",
    "https://files.example:8443/x", "https://xn--bcher-kva.example/", "https://192.0.2.7/x",
    "https://[2001:db8::1]/x", "https://[2001:db8::1]:8443/x", "https://a.b.c.d.example./x",
    "https://files.example/@user", "https://files.example/?u=javascript:alert(1)",
]  # fmt: skip

BAD = [
    "", " ", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "javascript://files.example/%0aalert(1)",
    " javascript:alert(1)", "\tjavascript:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)",
    "java\0script:alert(1)", "\x01javascript:alert(1)", "javascript\u200b:alert(1)", "javascript\x0b:alert(1)",
    "data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)", "file:///etc/passwd",
    "blob:https://files.example/1", "filesystem:https://files.example/1", "about:blank",
    "view-source:https://files.example", "mailto:a@b.example", "tel:1", "ftp://files.example", "ws://x", "wss://x",
    "http://files.example/x", "intent://x#Intent;end", "//evil.example", "///evil.example", "////evil.example",
    "/\\evil.example", "\\\\evil.example", "\\/evil.example", "/\t/evil.example", "/\n/evil.example",
    "/\r/evil.example", "/ /evil.example", "\u3000//evil.example", "https:evil.example", "https:/evil.example",
    "https:///evil.example", "https://", "https:\\\\evil.example", "https://user@evil.example",
    "https://user:pw@evil.example", "https://files.example@evil.example", "https://files.example%40evil.example",
    "https://files.example%2f@evil.example", "https://bücher.example/", "https://ｅvil.example",
    "https://evil。example", "https://files.example:0/", "https://files.example:65536/", "https://files.example:x/",
    "https://files.example:/", "https://-/", "https://.", "https://[::1", "https://a b.example/", "/a b", "/a\u00a0b",
    "/a\u202eb", "/a\u2028b", "/a\x7fb", "/a\x85b", "/\ufeffa", "/\ud800", "1:2", "a:b", ":x", "%6aavascript:x",
    "javascript%3a:x", "x" * (MAX_LINK + 1),
]  # fmt: skip


@pytest.mark.parametrize("href", GOOD)
def test_a_link_that_a_browser_may_follow(href: str) -> None:
    """Relative links and https links pass, at the door of a command too."""
    check_link(href, ())
    assert check(Notify, {"user": "u", "title": "T", "href": href}).href == href
    assert check(Complete, {"output_url": href}).output_url == href


@pytest.mark.parametrize("href", BAD)
def test_a_link_that_a_browser_must_not_get(href: str) -> None:
    """Every other form is refused with the field's name, even where nobody asked for the link to be checked."""
    with pytest.raises(Invalid) as refused:
        check_link(href, (), field="output_url")
    assert refused.value.details["field"] == "output_url"
    with pytest.raises(Invalid) as at_the_door:
        check(Notify, {"user": "u", "title": "T", "href": href})
    assert at_the_door.value.details["field"] == "href"


@pytest.mark.parametrize(
    ("href", "words"),
    [
        ("https://user:pw@files.example/", "user name or password"),
        ("https://bücher.example/", "plain ASCII"),
        ("//files.example/", "another site"),
        ("/a b", "%20"),
        ("ftp://files.example/", "start with https://"),
    ],
)
def test_a_refusal_says_what_to_change(href: str, words: str) -> None:
    """Somebody who reads the error knows which part of the link is meant."""
    with pytest.raises(Invalid) as refused:
        check_link(href, ())
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("href", "allowed"),
    [
        ("/x", True),
        ("https://files.example/x", True),
        ("https://FILES.example:443/x", True),
        ("https://cdn.example:8443/x", True),
        ("https://cdn.example/x", False),
        ("https://files.example:8443/x", False),
        ("https://files.example.evil.example/", False),
        ("https://evil.example/https://files.example", False),
        ("https://evilfiles.example/", False),
        ("https://files.example./", False),
        ("https://sub.files.example/", False),
    ],
)
def test_only_allowed_sites_where_some_are_named(href: str, allowed: bool) -> None:
    """With a list of origins an https link must lead to exactly one of them; relative links always may."""
    origins = ["https://files.example", "HTTPS://cdn.example:8443/"]
    if allowed:
        check_link(href, origins)
    else:
        with pytest.raises(Invalid):
            check_link(href, origins)


@given(st.text(max_size=40), st.sampled_from(["", "/", "//", "https:", "https://", "javascript:", "\\", "?", "#"]))
def test_whatever_passes_has_no_scheme_but_https(text: str, start: str) -> None:
    """Read as a browser does (controls and blanks dropped, backslash a slash), what passes leads nowhere else."""
    try:
        check_link(start + text, ["https://files.example"])
    except Invalid:
        return
    seen = "".join(c for c in start + text if c > " ").replace("\\", "/").lower()
    assert not seen.startswith("//")
    before, colon, _ = seen.partition(":")
    if colon and not set(before) & set("/?#"):
        assert seen.startswith("https://files.example")
