"""How much is fetched at the same time."""

from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.database.database import Database
from homeserver.rooms.missing import WHOLE_STATES, MissingEvents, Place
from homeserver.rooms.pdu_checks import PduChecks
from tests.rooms.holding import enter
from tests.rooms.remote_rooms import Remote
from tests.rooms.signed_rooms import BOB, Keys, SignedRoom
from tests.services.test_follower import until


@attrs.define
class Slow(Remote):
    """Gives no whole state before it is let go."""

    waiting: list[Deferred[None]] = attrs.field(factory=list)

    async def state(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        await waiting
        self.waiting.remove(waiting)
        return await Remote.state(self, server_name, room_id, event_id)


async def test_whole_states_wait_for_their_turn(database: Database, monkeypatch: Any) -> None:
    """A server that takes its time has one turn, and all together have as many as there is memory for."""
    monkeypatch.setattr("homeserver.rooms.missing.MOST_SINGLE", 0)
    room = SignedRoom.new("10")
    room.join(BOB)
    await database.write(enter, room, list(room.events.values()))
    remote = Slow(room)
    missing = MissingEvents(database, remote, PduChecks(Keys()))
    slow = [ServerName("slow.example")] * 3
    others = [ServerName(f"{number}.example") for number in range(WHOLE_STATES + 1)]

    def ask(server_name: ServerName) -> Deferred[int]:
        lost = room.say(BOB, server_name)
        place = Place(room.room_id, room.version, [server_name])
        return Deferred.fromCoroutine(missing.state_after(place, lost.event_id))

    asked = [ask(server_name) for server_name in slow]
    await until(lambda: remote.count("state_ids") == len(slow))
    await until(lambda: len(remote.waiting) == 1)
    asked += [ask(server_name) for server_name in others]
    await until(lambda: len(remote.waiting) == WHOLE_STATES)
    most = 0
    while not all(each.called for each in asked):
        await until(lambda: remote.waiting or all(each.called for each in asked))
        most = max(most, len(remote.waiting))
        for waiting in remote.waiting[:1]:
            waiting.callback(None)
    assert most == WHOLE_STATES
    assert len(set(await gatherResults(asked))) == 1
    assert not missing._turns
