"""Another server that is asked for events, and says what the room is, or what a test wants it to say."""

from collections.abc import Collection
from typing import Any

import attrs

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.state_ids import StateIds
from homeserver.database.database import Database
from homeserver.rooms.missing import MissingEvents
from homeserver.rooms.pdu_checks import PduChecks
from homeserver.rooms.receive import Receiver
from homeserver.runtime.clock import Clock
from tests.rooms.holding import US
from tests.rooms.signed_rooms import Keys, SignedRoom


@attrs.define
class Remote:
    """Tells the truth about a room; `lost` are events that it does not give, `silent` questions without answer.

    With `heeds_depth` it gives no missing events from below the depth that it is told.
    """

    room: SignedRoom
    lost: set[EventID] = attrs.field(factory=set)
    silent: set[str] = attrs.field(factory=set)
    asked: list[tuple[str, Any]] = attrs.field(factory=list)
    heeds_depth: bool = True

    def count(self, question: str) -> int:
        """How often that was asked."""
        return sum(each == question for each, _ in self.asked)

    async def missing_events(
        self,
        server_name: ServerName,
        room_id: RoomID,
        *,
        earliest: Collection[EventID],
        latest: Collection[EventID],
        limit: int,
        min_depth: int,
    ) -> list[JsonObject] | None:
        self.asked.append(("missing_events", server_name))
        if "missing_events" in self.silent:
            return None
        found: dict[EventID, Event] = {}
        level = [prev for each in latest for prev in self.room.events[each].prev_events]
        while level and len(found) < limit:
            level = [each for each in level if each not in earliest and each not in self.lost]
            if self.heeds_depth:
                level = [each for each in level if self.room.events[each].depth >= min_depth]
            found |= {each: self.room.events[each] for each in level}
            level = [prev for each in level for prev in self.room.events[each].prev_events]
        return [self.room.pdu(event) for event in list(found.values())[:limit]]

    async def state_ids(self, server_name: ServerName, room_id: RoomID, event_id: EventID) -> StateIds | None:
        self.asked.append(("state_ids", event_id))
        if "state_ids" in self.silent:
            return None
        before = self.room.before(self.room.events[event_id].prev_events)
        return StateIds(tuple(before.values()), tuple(self._auth_chain(before.values())))

    async def state(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        self.asked.append(("state", event_id))
        ids = self.room.before(self.room.events[event_id].prev_events).values()
        return [self.room.pdu(self.room.events[each]) for each in {*ids, *self._auth_chain(ids)}]

    async def event(self, server_name: ServerName, event_id: EventID) -> JsonObject | None:
        self.asked.append(("event", event_id))
        return None if "event" in self.silent else self.room.pdu(self.room.events[event_id])

    async def event_auth(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        self.asked.append(("event_auth", event_id))
        if "event_auth" in self.silent:
            return None
        return [self.room.pdu(self.room.events[each]) for each in self._auth_chain([event_id])]

    def _auth_chain(self, event_ids: Collection[EventID]) -> set[EventID]:
        found: set[EventID] = set()
        level = {cited for each in event_ids for cited in self.room.events[each].auth_events}
        while level:
            found |= level
            level = {cited for each in level for cited in self.room.events[each].auth_events} - found
        return found


class Recommending:
    """Policy servers to whom everything is welcome."""

    async def recommends(self, policy_server: object, event: Event) -> bool:
        del policy_server, event
        return True


def receiver(database: Database, clock: Clock, remote: Remote, *, us: ServerName = US) -> Receiver:
    """What receives events, and asks `remote` for what is missing."""
    return Receiver(database, clock, us, MissingEvents(database, remote, PduChecks(Keys())), Recommending())
