"""The worker: listens to a recording, second after second, and says what there is to hear in it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Protocol

from milepost.client.sync import Reporter

from ..stage.site import Site
from ..stage.work import Desk
from ..stage.workqueue import Claim, Request
from .analysis import Analysis, Figures
from .picture import COLUMNS, draw
from .shelf import SOUND, Shelf
from .wav import Recording, clock


class Progress(Protocol):
    """What listening needs of a job."""

    def advance(
        self,
        *,
        current: float,
        total: float | None = None,
        message: str,
        item: Mapping[str, object] | None = None,
    ) -> None:
        """See ``milepost.Milepost.job``."""


def run(claim: Claim, desk: Desk) -> None:
    """Works one request off as its job. Raises MilepostError where the hub cannot be told."""
    request, site = claim.request, desk.site

    def do(job: Reporter) -> None:
        figures = listen(Shelf(site.files), request.job_id, job, request.pace)
        job.complete(
            output_url=f"{site.prefix}/?recording={request.job_id}",
            result={"seconds": figures.seconds, "lufs": figures.lufs, "talk_seconds": figures.talk_seconds},
        )

    desk.report(claim, "session", do)


def forget(request: Request, site: Site) -> None:
    """Deletes an old recording and what was found in it."""
    Shelf(site.files).delete(request.job_id)


def listen(shelf: Shelf, job_id: str, job: Progress, pace: float) -> Figures:
    """Measures and draws one recording; ``pace`` is the pause after each of its seconds, in seconds.

    Raises BadAudio, CutShort, OSError, JobCancelled.
    """
    with shelf.path(job_id, SOUND).open("rb") as file:
        recording = Recording(file)
        analysis = Analysis(recording.format)
        total = math.ceil(recording.frames / analysis.block_frames)
        long = clock(recording.seconds)
        job.advance(current=0, total=total, message=f"Listening to {long}")
        for done, block in enumerate(recording.blocks(analysis.block_frames), 1):
            levels = analysis.add(block)
            if pace:
                time.sleep(pace)  # the coach's wish, 0 at full speed
            at = clock(min(done, recording.seconds))
            job.advance(current=done, message=f"Heard {at} of {long}", item={"name": at, "levels": levels})
    figures = analysis.figures()
    form = recording.format
    shelf.keep_result(
        job_id,
        {**figures.to_json(), "rate": form.rate, "channels": form.channels, "format": form.label},
        draw(figures, analysis.envelope(COLUMNS)),
    )
    job.advance(current=total, message=f"Session analysed: {headline(figures)}")
    return figures


def headline(figures: Figures) -> str:
    """The two figures that a coach looks for first."""
    loudness = "silent" if figures.lufs is None else f"{figures.lufs:.1f} LUFS".replace("-", "−")
    return f"{clock(figures.seconds)}, {loudness}"
