"""Users who are said to be removed from a room whose members are not known yet: whether the sender may is not known."""

import pytest

from homeserver.core.backoff import Backoff
from homeserver.core.identifiers import RoomID
from homeserver.services import incoming_events, partial_joins
from homeserver.storage import events, incoming_pdus
from tests.api.server import path_of
from tests.federation.harness import Servers, until
from tests.federation.meetings import membership, section, state_of
from tests.federation.partial_rooms import MEMBER, PartialRoom, Stage
from tests.federation.peer import Peer, Reply, federation


@pytest.fixture
def peer_with_an_admin(peer: Peer) -> PartialRoom:
    """A room of the peer in which a member may kick and ban, as far as the power levels say."""
    partial = PartialRoom.create(peer)
    levels = {"users": {partial.room.creator: 100, partial.members[0]: 50}}
    partial.room.append("m.room.power_levels", levels, "")
    return partial


@pytest.mark.parametrize("kind", ["leave", "ban"])
async def test_who_was_banned_removes_nobody(
    servers: Servers, peer: Peer, peer_with_an_admin: PartialRoom, kind: str
) -> None:
    """A banned admin still has the power, and a membership event to cite: that it no longer holds shows in the end."""
    server = await servers.start()
    alice = await server.user("alice")
    partial, evil = peer_with_an_admin, peer_with_an_admin.members[0]
    joined = partial.room.state[MEMBER, evil]
    partial.enter(evil, "ban", sender=partial.room.creator)
    await partial.join(alice)
    stage = Stage(server, alice, peer, partial)
    since = (await alice.sync())["next_batch"]
    cited = {**partial.room.state, (MEMBER, evil): joined}
    forged = partial.room.make(MEMBER, {"membership": kind}, alice.user_id, sender=evil, state=cited)
    # The peer tells what it cites.
    partial.room.events[partial.room.id_of(forged)] = forged
    (await peer.send(server.server_name, [forged])).ok()
    said = await partial.say(server, "what is heard after that", sender=partial.room.creator)
    await stage.seen(said)
    assert partial.room_id not in (await alice.sync(since))["rooms"].get("leave", {})
    answered = await alice.send(partial.room_id, "I am here")
    await stage.heard(answered)
    await stage.complete()
    await _until_nothing_waits(stage)
    assert await membership(alice, partial.room_id, alice.user_id) == "join"
    stored = await server.running.server.database.read(events.of, partial.room.id_of(forged))
    assert stored is not None
    assert stored.status in (events.REJECTED, events.SOFT_FAILED)
    shown = {each["event_id"] for each in await stage.timeline(alice)}
    assert {said, answered} <= shown
    assert await state_of(alice, partial.room_id) == partial.room.state


async def test_who_may_do_it_removes_her_when_the_members_have_come(
    servers: Servers, peer: Peer, peer_with_an_admin: PartialRoom
) -> None:
    server = await servers.start()
    alice = await server.user("alice")
    partial = peer_with_an_admin
    await partial.join(alice)
    kick = partial.room.make(MEMBER, {"membership": "leave"}, alice.user_id, sender=partial.members[0])
    (await peer.send(server.server_name, [kick])).ok()
    partial.room.accept(kick)
    await until(lambda: _value(partial.gate.came > 0), what="that the members are asked for")
    assert partial.room_id in (await alice.get(path_of("joined_rooms"))).ok()["joined_rooms"]
    partial.gate.open()
    left = await section(alice, partial.room_id, "leave")
    assert left["timeline"]["events"][-1]["event_id"] == partial.room.id_of(kick)


async def test_who_is_removed_and_told_nothing_more_has_left(
    servers: Servers, peer: Peer, peer_with_an_admin: PartialRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers do not tell the state of the room to one that is no longer in it: then the removal is believed."""
    monkeypatch.setattr(partial_joins, "BACKOFF", Backoff(first_ms=20, cap_ms=20))
    monkeypatch.setattr(incoming_events, "AWAITING_MS", 20)
    server = await servers.start()
    alice = await server.user("alice")
    partial = peer_with_an_admin
    await partial.join(alice)
    refusal = Reply({"errcode": "M_FORBIDDEN", "error": "Your server is not in the room"}, 403)
    peer.answer("GET", federation("v1") + "state_ids/{room_id}", refusal)
    partial.gate.open()
    kick = partial.room.make(MEMBER, {"membership": "leave"}, alice.user_id, sender=partial.members[0])
    partial.room.events[partial.room.id_of(kick)] = kick
    (await peer.send(server.server_name, [kick])).ok()
    left = await section(alice, partial.room_id, "leave")
    assert left["timeline"]["events"][-1]["event_id"] == partial.room.id_of(kick)


async def _until_nothing_waits(stage: Stage) -> None:
    async def is_so() -> bool:
        database = stage.server.running.server.database
        return not await database.read(incoming_pdus.count_all, RoomID(stage.room))

    await until(is_so, what="that nothing waits for the members any more")


async def _value(value: bool) -> bool:
    return value
