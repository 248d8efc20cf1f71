"""The bus between several processes: Redis publish and subscribe."""

import asyncio
import socket
from collections.abc import Callable, Collection
from typing import Final

import msgspec
import structlog
from redis import asyncio as aioredis
from redis.exceptions import RedisError
from twisted.internet.defer import Deferred

from homeserver.runtime.bus import BusError, Listener

_log = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(tuple[str, int, list[str]])

_LOST: Final = "*"
"""In place of topics: messages have been lost, nobody knows which."""

_KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
"""Who only listens would not notice for hours that the other end has vanished."""


_BROKEN: Final = (RedisError, OSError, RuntimeError)
"""What a broken link shows itself as; uvloop has a RuntimeError for a transport that is closed already."""


class RedisBus:
    """Publishes to one channel and listens to it; a broken link is retried for ever.

    This process's own messages are delivered at once, without the detour. What is published while a message is on its
    way goes out as one. `on_break` is called when messages may have been lost, so that caches which rely on them are
    dropped: again and again while the link is broken, and once when it is there again.
    """

    RETRY_S = 1.0
    FAREWELL_S = 1.0

    def __init__(self, url: str, channel: str, process_id: str, *, on_break: Callable[[], None]) -> None:
        self._sender = aioredis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
        self._listener = aioredis.Redis.from_url(
            url, socket_connect_timeout=5, socket_keepalive=True, socket_keepalive_options=_KEEPALIVE
        )
        self._channel = channel
        self._process_id = process_id
        self._on_break = on_break
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._position = 0
        self._topics: set[str] = set()
        self._wanted = asyncio.Event()
        self._is_lost = False
        self._is_broken = False

    def publish(self, position: int, topics: Collection[str]) -> None:
        """Call this process's listeners, and send the message on its way to the others."""
        self._position = max(self._position, position)
        self._topics.update(topics)
        self._wanted.set()
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
        except _BROKEN as error:
            raise BusError(f"redis: {error}: is the server running, and is the address right?") from error
        for work in (self._listen, self._send):
            task = loop.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Send what is to be sent, stop listening and close the connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await Deferred.fromFuture(asyncio.ensure_future(self._close(tasks)))

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._wanted.is_set() and tasks:
            try:
                await asyncio.wait_for(self._send_pending(), self.FAREWELL_S)
            except _BROKEN as error:
                _log.warning("bus: the last message could not be sent", reason=str(error))
        await self._sender.aclose()
        await self._listener.aclose()

    async def _ping(self) -> None:
        await self._sender.ping()

    async def _send(self) -> None:
        while True:
            await self._wanted.wait()
            was_lost = self._is_lost
            try:
                await self._send_pending()
                continue
            except _BROKEN as error:
                if not was_lost:
                    _log.warning("bus: messages cannot be sent, retrying", reason=str(error))
            except Exception:  # noqa: BLE001 - whatever it is, this process must not fall silent
                _log.exception("bus: sending failed, retrying")
            await asyncio.sleep(self.RETRY_S)

    async def _send_pending(self) -> None:
        topics = [_LOST] if self._is_lost else sorted(self._topics)
        self._topics.clear()
        self._wanted.clear()
        message = msgspec.json.encode((self._process_id, self._position, topics))
        try:
            await self._sender.publish(self._channel, message)
        except BaseException:  # whatever it is: what was not sent is to be sent
            # The others reread the stream every few seconds: hints may be dropped, but not unnoticed.
            self._is_lost = True
            self._wanted.set()
            raise
        self._is_lost = False

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except _BROKEN as error:
                if not self._is_broken:
                    _log.warning("bus: the link to Redis broke, retrying", reason=str(error))
            except Exception:  # noqa: BLE001 - whatever it is, this process must not stay deaf
                _log.exception("bus: listening failed, retrying")
            self._is_broken = True
            self._on_break()
            await asyncio.sleep(self.RETRY_S)

    async def _listen_once(self) -> None:
        """Listen until the link breaks."""
        async with self._listener.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    self._receive(message["data"])
                elif message["type"] == "subscribe":
                    if self._is_broken:
                        _log.info("bus: the link to Redis is there again")
                    self._is_broken = False
                    # Whatever was said before has been missed.
                    self._on_break()

    def _receive(self, data: bytes) -> None:
        try:
            process_id, position, topics = _decoder.decode(data)
        except msgspec.MsgspecError:
            _log.warning("bus: a message could not be read", length=len(data))
            return
        if process_id == self._process_id:
            return
        if topics == [_LOST]:
            self._on_break()
            return
        for listener in self._listeners:
            listener(position, topics)
