"""The bus between several processes: Redis publish and subscribe."""

import asyncio
from collections.abc import Callable, Collection

import msgspec
import structlog
from redis import asyncio as aioredis
from redis.exceptions import RedisError
from twisted.internet.defer import Deferred

from homeserver.runtime.bus import BusError, Listener

_log = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(tuple[str, int, list[str]])


class RedisBus:
    """Publishes to one channel and listens to it; a broken link is retried for ever.

    This process's own messages are delivered at once, without the detour. `on_break` is called when messages may have
    been lost, so that caches which rely on them are dropped.
    """

    RETRY_S = 1.0

    def __init__(self, url: str, channel: str, process_id: str, *, on_break: Callable[[], None]) -> None:
        self._redis = aioredis.Redis.from_url(url, socket_connect_timeout=5, health_check_interval=15)
        self._channel = channel
        self._process_id = process_id
        self._on_break = on_break
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()

    def publish(self, position: int, topics: Collection[str]) -> None:
        """Call this process's listeners, and send the message on its way to the others."""
        self._outbox.put_nowait(msgspec.json.encode((self._process_id, position, sorted(topics))))
        for listener in self._listeners:
            listener(position, topics)

    def subscribe(self, listener: Listener) -> None:
        """Be called for the messages of all processes."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Check that Redis answers, then listen in the background. Errors: BusError."""
        loop = asyncio.get_event_loop()
        try:
            await Deferred.fromFuture(asyncio.ensure_future(self._ping(), loop=loop))
        except (RedisError, OSError) as error:
            raise BusError(f"redis: {error}: is the server running, and is the address right?") from error
        for work in (self._listen, self._send):
            task = loop.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Stop listening and close the connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await Deferred.fromFuture(asyncio.ensure_future(self._close(tasks)))

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.aclose()

    async def _ping(self) -> None:
        await self._redis.ping()

    async def _send(self) -> None:
        while True:
            message = await self._outbox.get()
            try:
                await self._redis.publish(self._channel, message)
            except (RedisError, OSError) as error:
                # The others reread the stream every few seconds: the hint may be dropped.
                _log.warning("bus: a message could not be sent", reason=str(error))
                await asyncio.sleep(self.RETRY_S)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    # Whatever was said before this subscription has been missed.
                    self._on_break()
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._receive(message["data"])
            except (RedisError, OSError) as error:
                _log.warning("bus: the link to Redis broke, retrying", reason=str(error))
                self._on_break()
            await asyncio.sleep(self.RETRY_S)

    def _receive(self, data: bytes) -> None:
        try:
            process_id, position, topics = _decoder.decode(data)
        except msgspec.MsgspecError:
            _log.warning("bus: a message could not be read", length=len(data))
            return
        if process_id != self._process_id:
            for listener in self._listeners:
                listener(position, topics)
