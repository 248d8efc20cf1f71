"""The endpoints of what users keep and signal, served over HTTP from a real database.

Who makes a request is settled by the harness's tokens; rooms and their events are rows.
"""

import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import create_engine, insert
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from homeserver.api.client.account_data import AccountData
from homeserver.api.client.filter import Filter
from homeserver.api.client.presence import Presence
from homeserver.api.client.profile import Profile
from homeserver.api.client.pushrules import Pushrules
from homeserver.api.client.read_markers import ReadMarker
from homeserver.api.client.receipts import Receipts
from homeserver.api.client.tags import Tags
from homeserver.api.client.typing import Typing
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.kinds import Kind
from homeserver.database.tables import metadata
from homeserver.database.tables.stream import counters, stream
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import SystemClock
from homeserver.services import account_data, presence, receipts, tags, typing
from homeserver.services.filters import Filters
from homeserver.services.profiles import Profiles
from homeserver.services.push_rules import PushRules
from tests.api.http_harness import RawClient, request, serving
from tests.population import add_event, add_room, add_user

ALICE = UserID("@alice:x")
BOB = UserID("@admin:x")
GUEST = UserID("@guest:x")
ROOM = RoomID("!room:x")
ROOT = EventID("$root")
REPLY = EventID("$reply")
LAST = EventID("$last")

TOKENS = {ALICE: "alice", BOB: "admin", GUEST: "guest"}


@attrs.define
class NoRooms:
    """Stands for the rooms that profiles are repeated in."""

    names: list[str | None] = attrs.field(factory=list)

    async def update_member_events(
        self, user_id: UserID, display_name: str | None, avatar_url: str | None
    ) -> None:
        self.names.append(display_name)


@attrs.frozen
class Answer:
    """A response; `body` is decoded."""

    status: int
    body: Any

    @property
    def errcode(self) -> str:
        return str(self.body["errcode"])


@attrs.frozen
class Api:
    """Calls endpoints below `/_matrix/client/v3`; by Alice, unless said otherwise."""

    client: RawClient
    database: Database
    members: NoRooms

    async def call(self, method: str, path: str, body: object = None, *, by: UserID | None = ALICE) -> Answer:
        headers = [] if by is None else [f"Authorization: Bearer {TOKENS[by]}"]
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        where = path if path.startswith("/_matrix") else f"/_matrix/client/v3{path}"
        reply = await self.client.ask(request(method, where, *headers, body=data))
        assert reply.headers["content-type"] == "application/json"
        return Answer(reply.status, json.loads(reply.body))

    async def get(self, path: str, *, by: UserID | None = ALICE) -> Answer:
        return await self.call("GET", path, by=by)

    async def put(self, path: str, body: object, *, by: UserID | None = ALICE) -> Answer:
        return await self.call("PUT", path, body, by=by)

    async def post(self, path: str, body: object, *, by: UserID | None = ALICE) -> Answer:
        return await self.call("POST", path, body, by=by)


def populate(tx: WriteTransaction) -> None:
    """Alice and Bob in a room with a thread; the guest in none."""
    for user_id in TOKENS:
        add_user(tx, user_id)
    room_nid = add_room(tx, ROOM, ALICE, BOB)
    add_event(tx, room_nid, ROOT, position=1)
    add_event(tx, room_nid, REPLY, position=2, thread_id=ROOT)
    add_event(tx, room_nid, LAST, position=3)


@contextlib.asynccontextmanager
async def serving_user_data(folder: Path) -> AsyncGenerator[Api, None]:
    """Serve the endpoints until the block is left."""
    engine = create_engine(f"sqlite:///{folder}/test.db")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(stream).values(id=1, position=0, **{kind.value: 0 for kind in Kind}))
        connection.execute(insert(counters).values(name="nid", next=1))
    engine.dispose()
    location = Location.parse(f"sqlite:///{folder}/test.db")
    database = Database(location, reactor, on_commit=lambda *_: None)  # type: ignore[arg-type]  # zope's reactor
    database.start()
    await database.write(populate)
    clock, members = SystemClock(), NoRooms()
    there = presence.Presence(database, clock)
    served = [
        AccountData(account_data.AccountData(database)),
        Filter(Filters(database)),
        Presence(there),
        Profile(Profiles(database, members, there)),
        Pushrules(PushRules(database)),
        ReadMarker(receipts.Receipts(database, clock, there)),
        Receipts(receipts.Receipts(database, clock, there)),
        Tags(tags.Tags(database)),
        Typing(typing.Typing(database, clock, there)),
    ]
    try:
        async with serving(*served) as server:
            yield Api(await server.connect(), database, members)
    finally:
        await deferToThread(database.stop)
