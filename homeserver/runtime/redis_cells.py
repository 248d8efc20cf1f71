"""Cells of rate limits in Redis, so that several processes count together."""

import asyncio
from typing import Final

import msgspec
import structlog
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from twisted.internet.defer import Deferred

from homeserver.core.rate_limit import RateLimit
from homeserver.runtime.cells import CellsUnavailable

_log = structlog.get_logger(__name__)

_TAKE: Final = """
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if now == 0 then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local function keep(cell)
    redis.call('SET', KEYS[1], string.format('%.0f', cell), 'PX', math.ceil((cell - now) / 1000) + 1)
end
local cell = tonumber(redis.call('GET', KEYS[1]) or now)
local owed_until = math.min(math.max(cell, now), now + burst)
local after = owed_until + math.min(interval, burst)
local excess = after - now - burst
if excess > 0 then
    if owed_until < cell then
        keep(owed_until)
    end
    return math.ceil(excess / 1000)
end
keep(after)
return 0
"""
"""As `RateLimit.take`, in one step, by the clock of Redis: those of the processes may differ."""

_GIVE_BACK: Final = """
local cell = tonumber(redis.call('GET', KEYS[1]))
if cell then
    redis.call('SET', KEYS[1], string.format('%.0f', cell - tonumber(ARGV[1])), 'KEEPTTL')
end
return 0
"""


class _Call(msgspec.Struct, eq=False):
    """A script that is to be run for a key."""

    script: str
    key: str
    arguments: tuple[int, ...]
    result: Deferred[int] = msgspec.field(default_factory=Deferred)


class RedisCells:
    """Calls that come while others are on their way travel together, on one connection.

    When Redis fails it is left alone for a moment, so that requests do not wait for it.
    """

    PAUSE_S = 2.0
    TIMEOUT_S = 0.5

    def __init__(self, url: str, prefix: str) -> None:
        self._redis = aioredis.Redis.from_url(
            url,
            socket_timeout=self.TIMEOUT_S,
            socket_connect_timeout=self.TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # an idle connection may have been closed
        )
        self._prefix = prefix
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None
        self._failed_at: float | None = None

    async def take(self, key: str, rate: RateLimit, *, now_ms: int = 0) -> int:
        """Ask for one request now: 0 if it is granted, else how long to wait, in milliseconds.

        `now_ms` replaces the clock. Errors: CellsUnavailable.
        """
        return await self._call(_TAKE, key, rate.interval_us, rate.burst_us, now_ms * 1000)

    async def give_back(self, key: str, rate: RateLimit) -> None:
        """What was taken last is not to count. Errors: CellsUnavailable."""
        await self._call(_GIVE_BACK, key, rate.interval_us)

    async def stop(self) -> None:
        """Close the connection."""
        await Deferred.fromFuture(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        if self._sending is not None:
            await self._sending
        await self._redis.aclose()

    def _call(self, script: str, key: str, *arguments: int) -> Deferred[int]:
        call = _Call(script, self._prefix + key, arguments)
        loop = asyncio.get_event_loop()
        if self._failed_at is not None and loop.time() - self._failed_at < self.PAUSE_S:
            call.result.errback(CellsUnavailable("Redis did not answer a moment ago"))
            return call.result
        self._waiting.append(call)
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return call.result

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting, []
                await self._send_together(calls)
        finally:
            self._sending = None

    async def _send_together(self, calls: list[_Call]) -> None:
        outcomes: list[object]
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for call in calls:
                    pipeline.eval(call.script, 1, call.key, *call.arguments)
                outcomes = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on without Redis
            if self._failed_at is None:
                _log.warning(
                    "rate limits: Redis does not answer, each process counts by itself", reason=str(error)
                )
            self._failed_at = asyncio.get_event_loop().time()
            outcomes = [CellsUnavailable(str(error))] * len(calls)
        else:
            if self._failed_at is not None:
                _log.info("rate limits: Redis answers again")
            self._failed_at = None
        for call, outcome in zip(calls, outcomes, strict=True):
            if call.result.called:  # the caller went away
                continue
            if isinstance(outcome, int):
                call.result.callback(outcome)
            else:
                call.result.errback(CellsUnavailable(str(outcome)))
