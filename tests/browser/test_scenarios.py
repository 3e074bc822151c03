"""The eight scenarios that a person meets, by their numbers in the requirements."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.proxy import FaultProxy
from tests.browser.stage import Stage
from tests.browser.visitor import Visitor

# Everything that happens to the page from now on, except to what stands in the header; what is said aloud apart.
WATCH = """
() => {
  window.changes = [];
  window.said = [];
  window.shown = new Set(document.querySelectorAll('.milepost-toast'));
  window.values = [];
  new MutationObserver((records) => {
    for (const { type, target, addedNodes, attributeName } of records) {
      const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
      if (element?.closest('.milepost-announcer')) window.said.push(element.textContent);
      else if (!element?.closest('header')) window.changes.push(`${type} ${attributeName} ${element?.outerHTML}`);
      for (const node of addedNodes) if (node.matches?.('.milepost-toast')) window.shown.add(node);
      if (attributeName === 'value' && element.matches('.milepost-bar')) window.values.push(element.value);
    }
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}
"""


# When something was first true of the page, by the page's own clock, in milliseconds since it was loaded.
CLOCK = """
(() => {
  window.first = {};
  window.when = (name, look) => {
    const tick = () => {
      if (look()) window.first[name] ??= performance.now();
      else requestAnimationFrame(tick);
    };
    tick();
  };
})();
"""


def took(visitor: Visitor, start: str, end: str) -> float:
    """Seconds between two moments, both of which will come."""
    visitor.page.wait_for_function("name => window.first[name]", arg=end)
    return float(visitor.page.evaluate(f"(first.{end} - first.{start}) / 1000"))


def reached(visitor: Visitor, step: int) -> None:
    """Waits until the toast's bar has come so far."""
    expect(visitor.bar).to_have_attribute("value", re.compile(f"^({'|'.join(map(str, range(step, 100)))})$"))


def test_1_submit_progress_complete_and_the_toast_leaves(visit: Visit) -> None:
    """A form is sent, its toast counts to the end, links to the result, and leaves by itself after about 6 s."""
    visitor = visit()
    visitor.page.evaluate(CLOCK)
    visitor.page.evaluate(
        """() => {
          const toast = (tone) => document.querySelector(`.milepost-toast${tone}`);
          when('success', () => toast('[data-tone=success]'));
          when('gone', () => first.success && !toast(''));
        }"""
    )
    visitor.generate("complaint", speed="To watch")
    expect(visitor.bar).to_be_visible()
    expect(visitor.toasts).to_contain_text("of 6")
    expect(visitor.toast("Complaint", "success")).to_contain_text("1 document")
    expect(visitor.toasts.get_by_role("link", name="Open result")).to_have_attribute(
        "href", re.compile(r"^/documents/files/")
    )
    expect(visitor.bar).to_have_count(0)
    expect(visitor.card("completed")).to_be_visible()
    expect(visitor.toasts).to_have_count(0)
    assert 5.9 < took(visitor, "success", "gone") < 8


def test_2_an_error_mid_run_stays(visit: Visit) -> None:
    """A broken template ends the run in the middle: the toast names code and line, and outstays one of success."""
    visitor = visit()
    visitor.generate("complaint", broken=True)
    failed = visitor.toast("TEMPLATE_ERROR", "error")
    expect(failed).to_contain_text("custom.html, line 4")
    expect(visitor.card("failed")).to_contain_text("TEMPLATE_ERROR")
    visitor.generate("letter")
    expect(visitor.toast("Cover letter", "success")).to_be_visible()
    expect(visitor.toast("Cover letter")).to_have_count(0)
    expect(failed).to_be_visible()
    failed.get_by_role("button", name="Dismiss").click()
    expect(visitor.toasts).to_have_count(0)


def test_3_an_unknown_total_becomes_known(visit: Visit) -> None:
    """While the case is read the bar is indeterminate, then it counts: the same bar, the same toast."""
    visitor = visit()
    visitor.page.evaluate(WATCH)
    visitor.generate("complaint", "discovery", "letter", speed="To watch")
    expect(visitor.toasts).to_contain_text("so far")
    assert visitor.bar.evaluate("bar => bar.matches(':indeterminate')")
    assert visitor.bar.get_attribute("value") is None
    expect(visitor.bar).to_have_attribute("max", "20")
    expect(visitor.bar).to_have_attribute("value", re.compile(r"\d+"))
    expect(visitor.toasts).to_contain_text("of 20")
    assert visitor.page.evaluate("shown.size") == 1


def test_4_a_reload_during_progress(visit: Visit) -> None:
    """Within 2 s of a reload toast and card are back, no earlier than they were, and go on to the end."""
    visitor = visit()
    visitor.generate("complaint", "discovery", "letter", speed="To watch")
    reached(visitor, 4)
    visitor.context.add_init_script(CLOCK)
    again = "document.querySelector('.milepost-bar')?.value >= 4 && document.querySelector('.job[data-state=running]')"
    visitor.context.add_init_script(f"window.first.loading = 0; when('back', () => {again})")
    times = []
    for _ in range(2):  # a busy machine may spoil one of them
        visitor.page.reload()
        times.append(took(visitor, "loading", "back"))
    assert min(times) < 2
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    expect(visitor.toasts).to_have_count(1)


def test_5_two_jobs_two_toasts(visit: Visit) -> None:
    """Two jobs at once have a toast each, with a bar of its own; one ends badly, the other goes on to its success, and
    is the same all the while.
    """
    visitor = visit()
    visitor.generate("discovery", "letter", speed="To watch")
    long = visitor.toast("Discovery set")
    expect(long.locator("progress")).to_be_visible()
    element = long.element_handle()
    visitor.generate("complaint", broken=True)
    expect(visitor.toast("Complaint", "error")).to_be_visible()
    expect(visitor.toasts).to_have_count(2)
    expect(long.locator("progress")).to_be_visible()
    visitor.toast("Complaint").get_by_role("button", name="Dismiss").click()
    expect(visitor.toasts).to_have_count(1)
    expect(visitor.toast("Discovery set", "success")).to_be_visible()
    assert element.evaluate("element => element.isConnected")


def test_6_the_server_is_killed_and_restarted(visit: Visit, casefile: Stage) -> None:
    """Kill -9 of the hub, and it stays away: "Reconnecting…" after 10 s, and nothing on the screen is lost. When it is
    back the page goes on from its cursor, to the job's success, and a notification of the time between is there too.
    """
    visitor = visit()
    visitor.expect(r"net::ERR_")
    visitor.generate("complaint", "discovery", speed="To watch")
    reached(visitor, 4)
    visitor.page.evaluate(WATCH)
    visitor.page.evaluate("() => { client.on('resynced', () => { window.resynced = true; }); }")
    resumed: list[str] = []
    visitor.page.on("request", lambda request: resumed.append(request.url) if "/api/stream" in request.url else None)
    casefile.hold_hub_back(True)
    visitor.page.evaluate(CLOCK)
    visitor.page.evaluate(
        """() => {
          when('lost', () => client.connection.getSnapshot().status !== 'connected');
          when('said', () => connection.textContent.includes('Reconnecting…'));
        }"""
    )
    casefile.kill_hub()
    expect(visitor.notice).to_contain_text("Reconnecting…")
    assert 9.9 < took(visitor, "lost", "said") < 12
    expect(visitor.bar).to_be_visible()
    visitor.picture("reconnecting")
    assert visitor.faults() == []
    casefile.hold_hub_back(False)
    casefile.notify(visitor.id, "Meanwhile", level="info")
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    expect(visitor.notice).not_to_contain_text("Reconnecting…")
    expect(visitor.page.locator("#bell")).to_contain_text("2")
    assert all("after=" in url for url in resumed)
    assert resumed
    assert visitor.page.evaluate("window.resynced") is None
    assert visitor.page.evaluate("shown.size") == 1


def test_7_the_same_progress_twice(visit: Visit, casefile: Stage, proxy: FaultProxy) -> None:
    """Every frame of a job comes twice and older ones after it: one toast, and its bar never goes back. Then, with the
    worker stopped, all of them come again: not one change in the whole page, and nothing is said aloud.
    """
    proxy.turn("stutter")
    visitor = visit(proxy.url)
    visitor.page.evaluate(WATCH)
    visitor.generate("complaint", "discovery", speed="To watch")
    reached(visitor, 6)
    values = visitor.page.evaluate("values")
    assert values == sorted(set(values))
    assert visitor.page.evaluate("shown.size") == 1
    casefile.hold_workers(True)
    try:
        settle(visitor, casefile)
        visitor.page.evaluate("() => { changes.length = said.length = 0; }")
        assert proxy.replay() >= 12
        settle(visitor, casefile)
        assert visitor.page.evaluate("changes") == []
        assert all("notification" in words for words in visitor.page.evaluate("said"))
    finally:
        casefile.hold_workers(False)
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    assert visitor.page.evaluate("shown.size") == 1


def settle(visitor: Visitor, casefile: Stage) -> None:
    """Waits until all that was sent so far is on the screen: what comes last on the stream moves the bell."""
    bell = visitor.page.locator(".milepost-badge")
    before = int(bell.inner_text() or 0)
    casefile.notify(visitor.id, "All of it", level="info")
    expect(bell).to_have_text(str(before + 1))


def test_8_a_job_that_has_ended_already(visit: Visit, casefile: Stage) -> None:
    """A link to a job that ended before this browser first looked: its success is shown, with the download."""
    visitor = visit()
    visitor.generate("letter")
    expect(visitor.card("completed")).to_be_visible()
    job_id = visitor.page.locator(".job").get_attribute("data-job-id")
    signed_in = {"cookies": visitor.context.cookies(), "origins": []}
    elsewhere = visit(f"{casefile.url}/?job={job_id}", storage_state=signed_in)
    expect(elsewhere.card("completed")).to_be_visible()
    expect(elsewhere.toast("Cover letter", "success").get_by_role("link", name="Open result")).to_be_visible()
    expect(elsewhere.bar).to_have_count(0)
