"""Rooms in which something happens: real events, for tests that care what was said when."""

import attrs
from sqlalchemy import bindparam, update

from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import get_room_version
from homeserver.core.signing import SigningKey
from homeserver.database.database import Database
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events as events_table
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.storage import events, memberships, rooms

KEY = SigningKey.generate("test", seed=bytes(32))
SIGNER = Signer(ServerName("x"), KEY)
STARTED_TS = 1_700_000_000_000


@attrs.define
class Story:
    """A room of `owner` and the owner's server, in which things happen a second apart; `said` are its messages."""

    database: Database
    owner: UserID
    room_id: RoomID = attrs.field(default=RoomID(""))
    said: dict[str, EventID] = attrs.field(factory=dict)
    ts: int = STARTED_TS

    @property
    def signer(self) -> Signer:
        """In whose name the events are signed."""
        return Signer(server_of(self.owner) or SIGNER.server_name, KEY)

    async def begin(
        self, visibility: str | None, *, join_rule: str = "public", version: str = "11", seed: str = "room"
    ) -> "Story":
        """The room is made; `visibility` is its history visibility, `None` if it says none."""
        room_id = None if version == "12" else RoomID(f"!{seed}:{self.signer.server_name}")
        self.room_id = await self.database.write(
            _found, self.owner, version, room_id, self.signer, now_ts=self.ts
        )
        await self.set("m.room.join_rules", {"join_rule": join_rule})
        if visibility is not None:
            await self.set_visibility(visibility)
        return self

    async def set(self, type: str, content: JsonObject, state_key: str = "") -> EventID:
        """The owner sets state."""
        return await self.add(Draft(self.owner, type, content, state_key=state_key))

    async def set_visibility(self, visibility: object) -> EventID:
        """The history visibility changes."""
        return await self.set("m.room.history_visibility", {"history_visibility": visibility})  # type: ignore[dict-item]  # JSON

    async def member(self, user_id: UserID, membership: str, by: UserID | None = None) -> EventID:
        """A membership changes, by the user's own act unless said otherwise."""
        content: JsonObject = {"membership": membership}
        if membership == "join":
            content["displayname"] = user_id[1:].partition(":")[0].title()
        return await self.add(Draft(by or user_id, "m.room.member", content, state_key=user_id))

    async def say(self, text: str, by: UserID | None = None, **content: object) -> EventID:
        """A message."""
        body: JsonObject = {"msgtype": "m.text", "body": text, **content}  # type: ignore[dict-item]  # JSON
        self.said[text] = await self.add(Draft(by or self.owner, "m.room.message", body))
        return self.said[text]

    async def add(self, draft: Draft) -> EventID:
        """Any event."""
        self.ts += 1_000
        return await self.database.write(_append, self.room_id, draft, self.signer, now_ts=self.ts)

    async def forget(self, user_id: UserID) -> None:
        """The user forgets the room."""
        await self.database.write(_forget, self.room_id, user_id)

    async def position(self) -> int:
        """The stream's position."""
        return await self.database.read(_position)

    async def position_of(self, event_id: EventID) -> int:
        """Where an event stands."""
        found = await self.database.read(events.position_of, event_id)
        assert found is not None
        assert found[1] is not None
        return found[1]


def _found(
    tx: WriteTransaction,
    creator: UserID,
    version: str,
    room_id: RoomID | None,
    signer: Signer,
    *,
    now_ts: int,
) -> RoomID:
    content: JsonObject = {"room_version": version}
    if not get_room_version(version).implicit_room_creator:
        content["creator"] = creator
    create = Draft(creator, "m.room.create", content, state_key="")
    appender = Appender.found(tx, version, room_id, create, signer, now_ts=now_ts)
    member: JsonObject = {"membership": "join", "displayname": "Owner"}
    appender.append(Draft(creator, "m.room.member", member, state_key=creator))
    users: JsonObject = {} if version == "12" else {creator: 100}
    appender.append(Draft(creator, "m.room.power_levels", {"users": users}, state_key=""))
    appender.publish()
    return appender.room.room_id


def _append(tx: WriteTransaction, room_id: RoomID, draft: Draft, signer: Signer, *, now_ts: int) -> EventID:
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    event = appender.append(draft)
    appender.publish()
    return event.event_id


def _forget(tx: WriteTransaction, room_id: RoomID, user_id: UserID) -> None:
    room_nid = rooms.nid_of(tx, room_id)
    assert room_nid is not None
    memberships.forget(tx, room_nid, user_id)


def _position(tx: ReadTransaction) -> int:
    return tx.stream_row().position


async def say_many(story: Story, texts: list[str], by: UserID, *, status: int = events.ACCEPTED) -> None:
    """Many messages at once, all at the same time; accepted unless said otherwise."""
    drafts = [Draft(by, "m.room.message", {"msgtype": "m.text", "body": text}) for text in texts]
    ids = await story.database.write(_append_all, story.room_id, drafts, now_ts=story.ts)
    if status != events.ACCEPTED:
        await story.database.write(_judge, ids, status)


SET_STATUS = statement(
    update(events_table)
    .where(in_list(events_table.c.event_id, "event_ids"))
    .values(status=bindparam("new_status"))
)


def _append_all(tx: WriteTransaction, room_id: RoomID, drafts: list[Draft], *, now_ts: int) -> list[EventID]:
    appender = Appender.lock(tx, room_id, SIGNER, now_ts=now_ts)
    made = [appender.append(draft).event_id for draft in drafts]
    appender.publish()
    return made


def _judge(tx: WriteTransaction, event_ids: list[EventID], status: int) -> None:
    tx.execute(SET_STATUS, event_ids=event_ids, new_status=status)
