"""The results that the central server refuses, over HTTP: shown and exported a page at a time, retried by a person."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, Field

from edgeflow.model import Strict
from edgeflow.sync.aside import Refusal
from edgeflow.sync.uplink import Uplink
from edgeflow.web.routes import Reply, Request, Route

_PAGE_BYTES = 1 << 20


class RefusedQuery(Strict):
    """Which of them."""

    after: str = Field("", max_length=40, description="Where to go on; `next` of the page before.")
    limit: int = Field(100, ge=1, le=1000, description="How many at most.")


class RefusedPage(BaseModel):
    """A page of them, the oldest first."""

    total: int = Field(description="How many there are in all.")
    refused: list[Refusal] = Field(description="The results, each with the words of the central server.")
    next: str | None = Field(description="Ask with `after` set to this for more; null at the end.")


class RetryWish(Strict):
    """Which of them shall be queued again."""

    names: list[str] | None = Field(None, max_length=1000, description="Their names; null for all.")


class Retried(BaseModel):
    """They are queued again, and gone from here."""

    queued: int = Field(description="How many.")


class RefusedApi:
    """The handlers and their routes."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink

    def routes(self) -> list[Route[Any, Any]]:
        path = "/api/v1/outbox/refused"
        about = "Results that the central server refuses."
        return [
            Route("GET", path, self.refused, about, answer=RefusedPage, query=RefusedQuery),
            Route("POST", f"{path}/retry", self.retry, "Sends them again.", RetryWish, Retried, needs="token"),
        ]

    async def refused(self, request: Request[None, RefusedQuery]) -> Reply:
        aside, query = self._uplink.aside, request.query
        found, following = await asyncio.to_thread(aside.page, query.after, query.limit, _PAGE_BYTES)
        return RefusedPage(total=len(aside), refused=found, next=following)

    async def retry(self, request: Request[RetryWish, None]) -> Reply:
        return Retried(queued=await self._uplink.retry(request.body.names))
