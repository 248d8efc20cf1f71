"""The endpoints that read rooms, served over HTTP from a real database.

Who makes a request is settled by the harness's tokens; what happens in rooms, by `Story`.
"""

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast
from urllib.parse import quote, urlencode

import attrs
from twisted.internet.threads import deferToThread

from homeserver.api.client.event_context import EventContext
from homeserver.api.client.message_pagination import MessagePagination
from homeserver.api.client.old_sync import OldSync
from homeserver.api.client.peeking_events import PeekingEvents
from homeserver.api.client.room_event_by_timestamp import RoomEventByTimestamp
from homeserver.api.client.room_initial_sync import RoomInitialSync
from homeserver.api.client.rooms import Rooms
from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.runtime.clock import SystemClock
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.event_context import EventContexts
from homeserver.services.event_stream import EventStream
from homeserver.services.room_events import RoomEvents
from homeserver.services.room_members import RoomMembers
from homeserver.services.room_snapshots import RoomSnapshots
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.waiters import Waiters
from homeserver.services.timelines import Timelines
from tests.api.http_harness import REACTOR, RawClient, ServerUnderTest, request, serving
from tests.older_history import NoOlderHistory
from tests.openapi import Specification
from tests.room_stories import STARTED_TS, Story

ALICE = UserID("@alice:x")
BOB = UserID("@admin:x")
GUEST = UserID("@guest:x")

TOKENS = {ALICE: "alice", BOB: "admin", GUEST: "guest"}


class SameDay:
    """The date stands still, so that an event's age stays the same; time passes."""

    def now_ts(self) -> int:
        return STARTED_TS + 3_600_000

    def monotonic_ms(self) -> int:
        return SystemClock().monotonic_ms()


@attrs.frozen
class Answer:
    """A response; `body` is decoded."""

    status: int
    body: Any

    @property
    def outcome(self) -> tuple[int, str]:
        """The status and the error's code."""
        return self.status, self.body.get("errcode", "")


@attrs.frozen
class Reading:
    """Calls the endpoints, by Alice unless said otherwise; the specification checks the traffic."""

    server: ServerUnderTest
    client: RawClient
    database: Database
    waiters: Waiters
    specification: Specification | None

    async def get(
        self, path: str, query: Mapping[str, object] | None = None, *, by: UserID | None = ALICE
    ) -> Answer:
        return await self.get_on(self.client, path, query, by=by)

    async def get_on(
        self,
        client: RawClient,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        by: UserID | None = ALICE,
    ) -> Answer:
        """As `get`, on another connection."""
        headers = [] if by is None else [f"Authorization: Bearer {TOKENS[by]}"]
        where = path if path.startswith("/_matrix") else f"/_matrix/client/v3{path}"
        sent = where + (f"?{urlencode(query)}" if query else "")
        reply = await client.ask(request("GET", sent, *headers))
        assert reply.headers["content-type"] == "application/json"
        answer = Answer(reply.status, json.loads(reply.body))
        if self.specification is not None:
            self.specification.check("GET", where, None, answer.status, answer.body, query=query or ())
        return answer

    async def in_room(
        self, room_id: RoomID, what: str, *, by: UserID | None = ALICE, version: str = "v3", **query: Any
    ) -> Answer:
        """What there is below `/rooms/{roomId}`; `start` stands for `from`, and dicts for their JSON."""
        named = {{"start": "from"}.get(name, name): value for name, value in query.items()}
        encoded = {
            name: json.dumps(value) if isinstance(value, dict) else value for name, value in named.items()
        }
        path = f"/_matrix/client/{version}/rooms/{quote(room_id, safe='')}/{what}"
        return await self.get(path, encoded, by=by)

    def story(self, owner: UserID = BOB) -> Story:
        """A room to be."""
        return Story(self.database, owner)


@contextlib.asynccontextmanager
async def serving_rooms(
    database_url: str, specification: Specification | None
) -> AsyncGenerator[Reading, None]:
    """Serve the endpoints until the block is left; the database is an empty one."""
    location = Location.parse(database_url)
    database = Database(location, cast("Any", REACTOR), on_commit=lambda _, topics: follower.hint(topics))
    clock, waiters = SameDay(), Waiters()
    follower = Follower(database, clock, REACTOR, waiters, Remembered())
    database.start()
    await follower.start()
    awaited = AwaitedMembers(database, clock, REACTOR)
    single = RoomEvents(database, clock, NoOlderHistory())
    snapshots = RoomSnapshots(database, clock, awaited)
    served = [
        EventContext(EventContexts(database, clock, NoOlderHistory())),
        MessagePagination(Timelines(database, clock, NoOlderHistory())),
        OldSync(snapshots, single),
        PeekingEvents(EventStream(database, clock, REACTOR, waiters, NoOlderHistory())),
        RoomEventByTimestamp(single),
        RoomInitialSync(snapshots),
        Rooms(single, RoomMembers(database, clock, awaited)),
    ]
    try:
        async with serving(*served) as server:
            yield Reading(server, await server.connect(), database, waiters, specification)
    finally:
        follower.stop()
        await deferToThread(database.stop)
