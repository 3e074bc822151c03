"""The worker: looks each part of a bill of materials up, and says so part by part.

Where there is a Redis it publishes on its channel, as the system did that it comes from; else it reports by the SDK.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from milepost.client.sync import Reporter
from milepost.errors import Unavailable

from ..stage.site import Site
from ..stage.work import Desk, WorkerLost
from ..stage.workqueue import ATTEMPTS, Claim, Request
from .parts import HERE, Catalogue, enrich
from .shelf import Bom, Shelf

PRICES: Final = {"current": None, "next": HERE / "sample" / "next-prices.csv"}


def run(claim: Claim, desk: Desk) -> None:
    """Works one request off as its job. Raises MilepostError where nobody can be told."""
    request, site = claim.request, desk.site
    if site.redis:
        _publish(claim, site)
        return

    def do(job: Reporter) -> None:
        result = look_up(request, site, _Report(job))
        job.complete(output_url=download_url(request, site), result=result)

    desk.report(claim, "enrichment", do)


def forget(request: Request, site: Site) -> None:
    """Deletes a bill of materials whose newest run is an old one."""
    shelf = _shelf(request, site)
    bom = shelf.find(request.job_id)
    if bom is not None and bom.attempt <= request.attempt:
        shelf.delete(bom.id)


def download_url(request: Request, site: Site) -> str:
    """Where the enriched file will be."""
    return f"{site.prefix}/boms/{request.job_id}/enriched.csv"


@dataclass(slots=True)
class Tally:
    """How far it is."""

    total: int
    enriched: int = 0
    errors: int = 0

    def count(self, row: dict[str, Any]) -> None:
        """One more."""
        self.enriched += row["status"] == "enriched"
        self.errors += row["status"] == "error"

    @property
    def processed(self) -> int:
        """Parts that were looked at."""
        return self.enriched + self.errors


class Teller(Protocol):
    """Who is told about each part."""

    def tell(self, tally: Tally, mpn: str, status: str, message: str) -> None:
        """``status``: "processing", "enriched" or "error"."""


def look_up(request: Request, site: Site, teller: Teller) -> dict[str, Any]:
    """Enriches all parts, from where a worker before us left off, and writes the file; the run's summary.

    Raises CatalogueFault, OSError, and what ``teller`` raises.
    """
    shelf = _shelf(request, site)
    bom = shelf.find(request.job_id)
    if bom is None:
        raise FileNotFoundError("The bill of materials is not there any more.")
    catalogue = Catalogue(prices=PRICES[request.wish["prices"]])
    record = shelf.record(bom.id, request.attempt)
    tally = Tally(len(bom.lines))
    for row in record.rows:
        tally.count(row)
    try:
        if record.rows:
            last = record.rows[-1]
            teller.tell(tally, bom.lines[len(record.rows) - 1].mpn, last["status"], last["message"])
        for line in bom.lines[len(record.rows) :]:
            teller.tell(tally, line.mpn, "processing", "")
            if request.pace:
                time.sleep(request.pace)  # the visitor's wish, 0 at full speed
            row = enrich(line, catalogue)
            record.add(row)
            tally.count(row)
            teller.tell(tally, line.mpn, row["status"], row["message"])
    finally:
        record.close()
    shelf.finish(bom, record.rows)
    return _summary(bom, record.rows, tally)


def _summary(bom: Bom, rows: list[dict[str, Any]], tally: Tally) -> dict[str, Any]:
    cost = sum((Decimal(row["price"]) for row in rows if "price" in row), Decimal(0))
    warnings = sum(row["warning"] for row in rows)
    return {
        "parts": len(bom.lines),
        "enriched": tally.enriched,
        "errors": tally.errors,
        "warnings": warnings,
        "cost_eur": f"{cost:.2f}",
    }


def _shelf(request: Request, site: Site) -> Shelf:
    return Shelf(site.folder, request.tenant, request.owner)


class _Report:
    """Tells Milepost."""

    def __init__(self, job: Reporter) -> None:
        self._job = job

    def tell(self, tally: Tally, mpn: str, status: str, message: str) -> None:
        """Raises JobCancelled."""
        self._job.advance(
            current=tally.processed,
            total=tally.total,
            message=message,
            counters={"enriched": tally.enriched, "error": tally.errors},
            item={"name": mpn, "status": status, "message": message},
        )


# --- on Redis --------------------------------------------------------------------------------------------------------


def _publish(claim: Claim, site: Site) -> None:
    from redis.exceptions import RedisError

    from .publisher import Publisher

    class Channel:
        """Tells who listens."""

        def tell(self, tally: Tally, mpn: str, status: str, message: str) -> None:
            publisher.progress(enriched=tally.enriched, errors=tally.errors, mpn=mpn, status=status, message=message)

    request = claim.request
    shelf = _shelf(request, site)
    bom = shelf.find(request.job_id)
    try:
        with Publisher(
            site.redis,
            bom_id=request.job_id,
            bom_name=request.title,
            organization_id=request.tenant,
            user_id=request.owner,
            total=len(bom.lines) if bom else 0,
        ) as publisher:
            try:
                if claim.attempt > ATTEMPTS:
                    raise WorkerLost(f"The worker was lost {ATTEMPTS} times at this request.")
                publisher.started(len(shelf.rows(request.job_id, request.attempt)))
                result = look_up(request, site, Channel())
            except RedisError:
                raise
            except Exception as error:  # noqa: BLE001 - the next request must not suffer from this one
                publisher.failed(getattr(error, "milepost_code", "UNEXPECTED"), str(error))
                sys.stderr.write(f"{site.name}: {request.id}: {type(error).__name__}\n")
            else:
                publisher.completed(result, download_url(request, site))
    except RedisError as error:
        raise Unavailable(f"the Redis is away: {type(error).__name__}", code="engine_away") from None
