"""Waiting for something new: what a user listens to, and how long a client is willing to wait."""

from collections.abc import Collection

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.topics import inbox_topic, keys_topic, room_topic, user_topic
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.ignored_users import ignored_by
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.key_counts import KeySections, read_sections
from homeserver.services.sync.remembered import Remembered, UserRooms
from homeserver.services.sync.tail import Tail
from homeserver.services.sync.waiters import Waiters
from homeserver.storage import memberships


class Listening(msgspec.Struct, frozen=True):
    """What all long-polls share."""

    database: Database
    clock: Clock
    reactor: IReactorTime
    waiters: Waiters
    follower: Follower
    remembered: Remembered

    @property
    def tail(self) -> Tail:
        """The tail as it is now."""
        return self.follower.tail

    async def catch_up(self) -> None:
        """Have the tail hold what nobody has waited for so far; for who comes."""
        await self.follower.catch_up()

    def patience(self, timeout_ms: int, gone: Deferred[None]) -> "Patience":
        """For a request that waits up to `timeout_ms`, unless `gone` fires before, since its client has gone away."""
        patience = Patience(self, self.clock.monotonic_ms() + timeout_ms)
        gone.addCallback(patience.give_up)
        return patience

    async def rooms(self, user_id: UserID) -> UserRooms:
        """What the user listens to; kept right by the tail, which forgets it when a membership changes."""
        rooms = self.remembered.rooms(user_id)
        if rooms is None:
            position, room_ids, ignored = await self.database.read(joined_rooms, user_id)
            own = user_topic(user_id), inbox_topic(user_id), keys_topic(user_id)
            topics = frozenset([*own, *map(room_topic, room_ids)])
            rooms = UserRooms(position, topics, ignored)
            if self._is_of_now(position, user_topic(user_id)):
                self.remembered.remember_rooms(user_id, rooms)
        return rooms

    async def keys(self, user_id: UserID, device_id: str) -> KeySections:
        """What the device is told of its keys; kept right by the tail, which forgets it when that changes."""
        known = self.remembered.keys(user_id, device_id)
        if known is not None:
            return known
        position, keys = await self.database.read(_keys, user_id, device_id)
        self.remember_keys(user_id, device_id, position, keys)
        return keys

    def remember_keys(self, user_id: UserID, device_id: str, position: int, keys: KeySections) -> None:
        """As they were read at a position."""
        if device_id and self._is_of_now(position, keys_topic(user_id)):
            self.remembered.remember_keys(user_id, device_id, keys)

    def _is_of_now(self, position: int, topic: str) -> bool:
        """Whether what was read at a position, and changes when the topic is told something, can be kept."""
        tail = self.tail
        if position >= tail.position:
            return True
        return tail.holds(position) and tail.after(position, (topic,), most=500) == []


class Patience:
    """How long one request goes on waiting."""

    def __init__(self, listening: Listening, deadline_ms: int) -> None:
        self._listening = listening
        self._deadline_ms = deadline_ms
        self._waiting: Deferred[None] | None = None
        self._is_given_up = False

    @property
    def is_over(self) -> bool:
        """Whether the time is up, the client has gone, or the server shuts down."""
        return self._left_ms <= 0 or self._listening.waiters.closing or self._is_given_up

    def give_up(self, _: None) -> None:
        """The client has gone away."""
        self._is_given_up = True
        if self._waiting is not None:
            _fire(self._waiting)

    async def wait(self, user_id: UserID, topics: frozenset[str]) -> None:
        """Until one of the topics is told something, or patience is over."""
        waiters = self._listening.waiters
        waiter = waiters.add(user_id, topics)
        self._waiting = waiter.woken
        self._listening.follower.hurry()
        call = self._listening.reactor.callLater(max(0, self._left_ms) / 1000, _fire, waiter.woken)
        try:
            await waiter.woken
        finally:
            waiters.remove(waiter)
            if call.active():
                call.cancel()

    @property
    def _left_ms(self) -> int:
        return self._deadline_ms - self._listening.clock.monotonic_ms()


def joined_rooms(tx: ReadTransaction, user_id: UserID) -> tuple[int, Collection[RoomID], frozenset[str]]:
    """The position of the snapshot, and in it the user's joined rooms, and the users who are ignored."""
    room_ids = memberships.joined_room_ids(tx, user_id)
    return tx.stream_row().position, room_ids, ignored_by(tx, user_id)


def _keys(tx: ReadTransaction, user_id: UserID, device_id: str) -> tuple[int, KeySections]:
    return tx.stream_row().position, read_sections(tx, user_id, device_id)


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
