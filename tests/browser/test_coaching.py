"""Soundboard in a real Chromium, its page built with React 19 and with 18: coaches, their recordings, their bells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Request, Route, ViewportSize, expect

from examples.coaching.sample import loud
from tests.browser.coach import Come, Seat, coming
from tests.browser.react import ScriptOf
from tests.browser.stage import Stage, until
from tests.browser.visitor import LOOKS, PHONE, Person

DESK: Final[ViewportSize] = {"width": 1280, "height": 860}
NARROW: Final[ViewportSize] = {"width": 320, "height": 860}


@pytest.fixture(name="soundboard", scope="module")
def fixture_soundboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """``milepost demo coaching`` for the tests of this file. It ends as it should; only broken recordings failed."""
    soundboard = Stage(tmp_path_factory.mktemp("soundboard"), "coaching")
    yield soundboard
    soundboard.close()


@pytest.fixture(name="come")
def fixture_come(soundboard: Stage, browser: Browser, script_of: ScriptOf) -> Iterator[Come]:
    """Opens the page in a browser that has never been there, and signs a coach in; with React 19, and again with 18."""
    yield from coming(soundboard, browser, script=script_of("coaching"))


@pytest.fixture(name="come_once")
def fixture_come_once(soundboard: Stage, browser: Browser) -> Iterator[Come]:
    """The same with the page as it is served."""
    yield from coming(soundboard, browser)


# --- the scenarios --------------------------------------------------------------------------------------------------


def test_1_analyse_progress_result_and_the_toast_leaves(come: Come) -> None:
    """A sample is sent: toast and page count its seconds to the end, the figures and the picture come, bell and inbox
    have the news, and the toast leaves by itself.
    """
    anna = come("anna")
    before = anna.unread()
    anna.analyse(speed="To watch")
    expect(anna.bar).to_have_attribute("max", "36")
    expect(anna.toasts).to_contain_text(re.compile(r"Heard 0:\d\d of 0:36"))
    expect(anna.result.locator("progress")).to_have_attribute("max", "36")
    expect(anna.result.locator(".levels [data-heard]").nth(20)).to_be_visible()
    expect(anna.result).to_contain_text("−22.4 LUFS")
    expect(anna.toast("Session analysed: 0:36, −22.4 LUFS", "success")).to_be_visible()
    expect(anna.badge).to_have_text(str(before + 1))
    picture = anna.result.get_by_role("img", name="80 % talk")
    expect(picture).to_be_visible()
    until(lambda: picture.evaluate("image => image.complete && image.naturalWidth > 0"), what="the picture")
    sound = anna.result.locator("audio")
    until(lambda: sound.evaluate("audio => Math.round(audio.duration)") == 36, what="the sound")
    expect(anna.toasts).to_have_count(0)
    expect(anna.show_inbox().first).to_contain_text("Session analysed: 0:36")


def test_2_a_recording_that_breaks_off_stays(come: Come) -> None:
    """The toast names the code and the second, outstays one of success, and is closed by its button."""
    anna = come("anna")
    anna.analyse("A broken file")
    failed = anna.toast("AUDIO_TRUNCATED", "error")
    expect(failed).to_contain_text("0:23 of 0:36")
    expect(anna.result).to_contain_text("AUDIO_TRUNCATED")
    anna.analyse("Too loud")
    expect(anna.toast("Session analysed", "success")).to_be_visible()
    expect(anna.toast("Session analysed")).to_have_count(0)
    expect(failed).to_be_visible()
    failed.get_by_role("button", name="Dismiss").click()
    expect(anna.toasts).to_have_count(0)


def test_4_a_reload_during_progress(come: Come) -> None:
    """Still signed in, the same recording open: toast and bar are back, no earlier than they were, and go on."""
    anna = come("anna")
    anna.analyse(speed="Slow")
    expect(anna.bar).to_have_attribute("value", re.compile(r"^([3-9]|\d\d)$"))
    anna.page.reload()
    expect(anna.bar).to_have_attribute("value", re.compile(r"^([3-9]|\d\d)$"))
    expect(anna.result.locator("progress")).to_be_visible()
    expect(anna.toasts).to_have_count(1)
    anna.result.get_by_role("button", name="Cancel").click()
    expect(anna.toast("Cancelled", "info")).to_be_visible()
    expect(anna.result).to_contain_text("CANCELLED")
    expect(anna.rows.first).to_have_attribute("data-state", "cancelled")


def test_5_two_recordings_two_toasts(come: Come) -> None:
    """Two at once have a toast each; one ends badly, the other goes on to its success."""
    anna = come("anna")
    anna.analyse(speed="To watch")
    expect(anna.bar).to_be_visible()
    anna.analyse("A broken file")
    expect(anna.toast("AUDIO_TRUNCATED", "error")).to_be_visible()
    expect(anna.toasts).to_have_count(2)
    expect(anna.toast("Session analysed: 0:36", "success")).to_be_visible()
    expect(anna.toast("AUDIO_TRUNCATED", "error")).to_be_visible()


def test_6_the_hub_is_killed_and_restarted(come: Come, soundboard: Stage) -> None:
    """Kill -9 in the middle: the page says that it is not live, goes on from its cursor when the hub is back, and
    comes to the end, without a reload and with the same token.
    """
    anna = come("anna")
    anna.expect(r"net::ERR_")
    anna.page.evaluate(
        """() => {
          window.said = [];
          const live = document.querySelector('.live');
          new MutationObserver(() => said.push(live.textContent)).observe(live, { subtree: true, characterData: true });
        }"""
    )
    anna.analyse(speed="To watch")
    expect(anna.bar).to_have_attribute("value", re.compile(r"^([3-9]|\d\d)$"))
    with anna.page.expect_request(re.compile("/api/stream.*after=")) as resumed:
        soundboard.kill_hub()
    assert bearer(resumed.value) == bearer(anna.streams[0])
    anna.connected()
    expect(anna.toast("Session analysed: 0:36", "success")).to_be_visible()
    expect(anna.result).to_contain_text("−22.4 LUFS")
    assert anna.page.evaluate("said[0]") == "Reconnecting…"


def test_8_a_recording_that_has_ended_already(come: Come) -> None:
    """A link to a result, in a browser that has never seen it: its success and all its figures are shown."""
    anna = come("anna")
    anna.analyse("Too loud")
    expect(anna.result).to_contain_text("LUFS")
    elsewhere = come("anna", at=f"/?{urlsplit(anna.page.url).query}")
    expect(elsewhere.result.locator(".state")).to_have_text("Ready")
    expect(elsewhere.result).to_contain_text("2,629")
    expect(elsewhere.page.locator("progress")).to_have_count(0)


# --- who is told ----------------------------------------------------------------------------------------------------


def test_side_by_side_each_is_told_only_what_is_theirs(
    soundboard: Stage, browser: Browser, script_of: ScriptOf
) -> None:
    """Two frames in one window: what Anna analyses and is told is on her side only; what she shares rings Ben's bell
    and no other; a link in his toast opens it on his side.
    """
    window = Person(browser, f"{soundboard.url}/side-by-side", {}, script=script_of("coaching"), viewport=DESK)
    anna, ben = (Seat(window.page.frame_locator("iframe").nth(place)) for place in range(2))
    anna.connected()
    ben.connected()
    hers, his = anna.unread(), ben.unread()
    anna.analyse("Too loud")
    expect(anna.toasts).to_contain_text("Session analysed")
    expect(anna.badge).to_have_text(str(hers + 1))
    window.picture("side-by-side")
    anna.result.get_by_label("Note").fill("Listen to the silences")
    anna.result.get_by_role("button", name="Share with Ben").click()
    expect(anna.result.get_by_role("status")).to_have_text("Ben has been told.")
    expect(ben.toasts).to_contain_text("Anna Lindqvist shared “too-loud.wav”")
    expect(ben.badge).to_have_text(str(his + 1))
    expect(ben.toasts).to_have_count(1)
    ben.toasts.get_by_role("link", name="Open").click()
    expect(ben.result).to_contain_text("Listen to the silences")
    expect(ben.result).to_contain_text("2,629")
    expect(anna.toasts.filter(has_text="shared")).to_have_count(0)
    expect(anna.badge).to_have_text(str(hers + 1))
    window.close()


def test_the_bell_is_up_to_date_without_a_reload(come: Come, soundboard: Stage) -> None:
    """What is told now is on bell and tab, in a toast, and at the top of the open inbox; read there, it counts less."""
    ben = come("ben")
    ben.page.evaluate("window.stays = true")
    before = ben.unread()
    rows = ben.show_inbox()
    soundboard.notify("ben", "Transcription complete", message="Your audio is ready", level="success")
    expect(ben.badge).to_have_text(str(before + 1))
    expect(ben.page.locator(".tab-count")).to_have_text(str(before + 1))
    expect(ben.toast("Your audio is ready", "success")).to_be_visible()
    expect(rows.first).to_contain_text("Transcription complete")
    rows.first.get_by_role("button", name="Unread: Transcription complete").click()
    expect(ben.badge).to_have_text(str(before) if before else "")
    assert ben.page.evaluate("stays")


def test_read_in_one_tab_is_read_in_the_other_over_one_connection(come: Come, soundboard: Stage) -> None:
    """Two tabs of Ben's show the same, over one stream; what one marks as read is read in both; another coach in a
    third tab has a stream of her own, and is told nothing of it.
    """
    ben = come("ben")
    second = ben.tab()
    Seat(second).sign_in("ben")
    third = ben.tab()
    Seat(third).sign_in("carla")
    hers = Seat(third).unread()
    before = ben.unread()
    soundboard.notify("ben", "Room changed", level="info")
    for tab in (ben, Seat(second)):
        expect(tab.badge).to_have_text(str(before + 1))
    rows = ben.show_inbox()
    expect(rows.first).to_contain_text("Room changed")
    ben.page.get_by_role("button", name="Mark all as read").click()
    expect(ben.badge).to_be_hidden()
    expect(Seat(second).badge).to_be_hidden()
    soundboard.notify("carla", "Yours alone", level="info")
    expect(Seat(third).badge).to_have_text(str(hers + 1))
    expect(ben.badge).to_be_hidden()
    assert [request.frame.page for request in ben.streams] == [ben.page, third]


# --- tokens ---------------------------------------------------------------------------------------------------------


def bearer(request: Request) -> str:
    """The token of a request."""
    scheme, _, token = (request.header_value("authorization") or "").partition(" ")
    assert scheme == "Bearer", request.url
    return token


def short(soundboard: Stage, seconds: float) -> Callable[[Route], None]:
    """Answers as the application does, but where that gives a token, with one that is over in so many seconds."""

    def answer(route: Route) -> None:
        real = route.fetch()
        told = real.json()
        if "token" in told:
            told["token"] = soundboard.token("anna", seconds=seconds)
        route.fulfill(response=real, json=told)

    return answer


def test_the_stream_carries_the_token_in_a_header(come: Come) -> None:
    """By fetch: no cookie, and no token in any address or in what outlives the tab."""
    anna = come("anna")
    token = bearer(anna.streams[0])
    assert token.count(".") == 2
    assert anna.streams[0].resource_type == "fetch"
    assert "cookie" not in anna.streams[0].all_headers()
    assert token not in anna.streams[0].url
    assert anna.context.cookies() == []
    assert token not in anna.page.evaluate("JSON.stringify(localStorage)")


def test_an_expired_token_is_renewed_and_the_stream_resumes(come: Come, soundboard: Stage) -> None:
    """The hub ends the stream with the token; the page asks its session for the next one, once, and goes on from its
    cursor: what is told afterwards arrives, nobody has to sign in again, and nothing is loaded anew.
    """
    anna = come()
    anna.page.route("**/sign-in", short(soundboard, 8))
    renewals: list[str] = []
    anna.page.on("request", lambda request: renewals.append(request.url) if request.url.endswith("/session") else None)
    with anna.page.expect_request(re.compile("/api/stream.*token_expired"), timeout=30_000):
        anna.sign_in("anna")
        anna.page.evaluate("window.stays = true")
    first, second = anna.streams
    assert bearer(first) != bearer(second)
    asked = parse_qs(urlsplit(second.url).query)
    assert asked["reason"] == ["token_expired"]
    assert asked["after"]
    assert len(renewals) == 1
    soundboard.notify("anna", "After the renewal", level="info")
    expect(anna.toast("After the renewal")).to_be_visible()
    assert anna.page.evaluate("stays")


def test_a_session_that_is_over_leads_to_the_sign_in(come: Come, soundboard: Stage) -> None:
    """Signed out on another device: when the token is over there is no next one, and the page asks who is there."""
    anna = come()
    anna.expect("401 .*Unauthorized")  # its tokens are over almost at once
    anna.page.route(re.compile("/(sign-in|session)$"), short(soundboard, 4))
    anna.sign_in("anna")
    elsewhere = come("anna")
    elsewhere.page.get_by_role("button", name="Sign out").click()
    expect(elsewhere.page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(anna.page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=30_000)


def test_signing_out_closes_the_stream_and_the_other_tab(come: Come, soundboard: Stage) -> None:
    """The stream ends, both tabs of the coach ask who is there, nothing of hers is left in the browser, and what she
    is told then arrives only when she is back.
    """
    carla = come("carla")
    second = carla.tab()
    Seat(second).sign_in("carla")
    before = carla.unread()
    ended: list[Request] = []

    def end(request: Request) -> None:
        ended.append(request)

    carla.context.on("requestfailed", end)
    carla.page.get_by_role("button", name="Sign out").click()
    for tab in (carla.page, second):
        expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(tab.locator(".milepost-bell")).to_have_count(0)

    def nothing_left() -> bool:
        assert "carla" not in carla.page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        return {*carla.streams} <= {*ended}  # the second tab may have taken the first one's place for a moment

    until(nothing_left, what="the streams' end")
    soundboard.notify("carla", "While you were away", level="info")
    carla.sign_in("carla")
    expect(carla.badge).to_have_text(str(before + 1))


# --- one's own recordings -------------------------------------------------------------------------------------------


def test_ones_own_recording(come: Come) -> None:
    """A file is chosen and analysed under its name; one that is no recording is refused in a sentence, and the choice
    stays; the next file is taken.
    """
    ben = come("ben")
    ben.expect("422")
    page = ben.page
    page.get_by_label("Your own").check()
    chooser = page.get_by_label("Choose a file")
    chooser.set_input_files({"name": "talk.mp3", "mimeType": "audio/mpeg", "buffer": b"ID3\4" + bytes(500)})
    page.get_by_label("Full speed").check()
    page.get_by_role("button", name="Analyse").click()
    expect(page.get_by_role("alert")).to_contain_text("This is an MP3 file")
    assert ben.faults() == []
    page.get_by_label("Choose another file").set_input_files(
        {"name": "My <b>talk</b>.wav", "mimeType": "audio/wav", "buffer": loud()}
    )
    page.get_by_role("button", name="Analyse").click()
    expect(page.get_by_role("heading", name="My <b>talk</b>.wav", level=2)).to_be_visible()
    expect(ben.result).to_contain_text("2,629")
    expect(page.get_by_role("alert")).to_have_count(0)
    # A press on the picture goes to that place in the sound.
    box = ben.result.locator(".waveform").bounding_box()
    assert box
    ben.result.locator(".waveform").click(position={"x": box["width"] / 2, "y": 20})
    until(lambda: 7 < ben.result.locator("audio").evaluate("audio => audio.currentTime") < 9, what="the middle")


@pytest.mark.parametrize("scheme", LOOKS)
def test_axe_finds_nothing(come_once: Come, soundboard: Stage, scheme: str) -> None:
    """Signing in, idle, running, the result with feedback, a failure, the inbox: nothing for axe at 1280 and at 320 px,
    where nothing has to be scrolled sideways either; and so with both coaches side by side.
    """
    carla = come_once(viewport=DESK, reduced_motion="reduce", **LOOKS[scheme])
    page = carla.page

    def look(state: str) -> None:
        carla.picture(f"coaching-{state}-{scheme}")
        for size in (NARROW, DESK):
            page.set_viewport_size(size)
            assert carla.faults() == [], (state, size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state

    look("sign-in")
    carla.sign_in("carla")
    look("idle")
    carla.analyse(speed="Slow")
    expect(carla.result.locator("progress")).to_have_attribute("value", re.compile(r"\d"))
    look("running")
    carla.result.get_by_role("button", name="Cancel").click()
    carla.analyse()
    expect(carla.result).to_contain_text("LUFS")
    recording = parse_qs(urlsplit(page.url).query)["recording"][0]
    told = {"message": "Mind the pauses", "level": "info", "context": {"related_session_id": recording}}
    soundboard.notify("carla", "Ben Okafor sent feedback", **told)
    expect(carla.result).to_contain_text("Mind the pauses")
    look("result")
    carla.analyse("A broken file")
    expect(carla.result).to_contain_text("AUDIO_TRUNCATED")
    look("failed")
    expect(carla.show_inbox().first).to_be_visible()
    look("inbox")
    page.goto(f"{soundboard.url}/side-by-side")
    for seat in range(2):
        Seat(page.frame_locator("iframe").nth(seat)).connected()
    look("seats")
    assert page.locator("iframe").count() == 2


def test_two_seats_on_a_phone_are_one_above_the_other(come_once: Come) -> None:
    """Each as wide as the screen, and both usable."""
    window = come_once(at="/side-by-side", viewport=PHONE)
    for seat in range(2):
        Seat(window.page.frame_locator("iframe").nth(seat)).connected()
    above, below = (window.page.locator("iframe").nth(place).bounding_box() for place in range(2))
    assert above
    assert below
    assert below["y"] >= above["y"] + above["height"]
    assert above["width"] > PHONE["width"] - 40
    window.picture("seats")


def test_on_a_phone_a_result_stands_alone(come_once: Come) -> None:
    """It takes the list's place, and the focus with it; back again, the focus is where it was."""
    ben = come_once("ben", viewport=PHONE)
    ben.analyse("Too loud")
    back = ben.page.get_by_role("button", name="All recordings")
    expect(back).to_be_focused()
    expect(ben.rows.first).to_be_hidden()
    back.press("Enter")
    opener = ben.rows.first.get_by_role("button", name="too-loud.wav")
    expect(opener).to_be_focused()
    opener.press("Enter")
    expect(ben.result).to_contain_text("LUFS")
    ben.page.go_back()
    expect(opener).to_be_visible()
