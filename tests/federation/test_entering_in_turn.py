"""Rooms of others are entered, knocked on and declined by several servers in turn, whatever the way they are named."""

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.json import decode_object
from homeserver.database.transactions import ReadTransaction
from homeserver.services import remote_joins
from homeserver.storage import events, memberships, rooms
from tests.api.server import Client, path_of, room_path
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, cut, free_port, until
from tests.federation.meetings import join_via, membership, section, sees, state_of
from tests.federation.partial_rooms import PartialRoom, is_partial, until_whole
from tests.federation.peer import Peer

Three = tuple[FederatedServer, FederatedServer, FederatedServer]

NAMED_BY = ("via", "server_name")


def nowhere() -> str:
    """A server that cannot be reached."""
    return f"localhost:{free_port()}"


async def open_to_knocks(owner: Client, **options: object) -> str:
    """A room on which one knocks."""
    rule = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    return await owner.create_room(initial_state=rule, **options)


@pytest.mark.parametrize("named_by", NAMED_BY)
async def test_joining(three: Three, named_by: str) -> None:
    """Client-server API, `POST /join`: `via`, and `server_name` before version 1.12."""
    one, other, third = three
    alice, bob, carol = await one.user("alice"), await other.user("bob"), await third.user("carol")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, one)
    servers = {named_by: [nowhere(), nowhere(), other.server_name]}
    assert (await carol.post(path_of("join", room), **servers)).ok() == {"room_id": room}
    await sees(bob, room, carol.user_id, "join")


@pytest.mark.parametrize("named_by", NAMED_BY)
async def test_knocking(three: Three, named_by: str) -> None:
    one, other, third = three
    alice, bob, carol = await one.user("alice"), await other.user("bob"), await third.user("carol")
    room = await open_to_knocks(alice, invite=[bob.user_id])
    await section(bob, room, "invite")
    await join_via(bob, room, one)
    cut(one, third)
    servers = {named_by: [nowhere(), one.server_name, other.server_name]}
    assert (await carol.post(path_of("knock", room), **servers)).ok() == {"room_id": room}
    await sees(bob, room, carol.user_id, "knock")
    await section(carol, room, "knock")


async def test_declining(three: Three) -> None:
    """The inviter's server is away: another one is known by what the user was told of the room."""
    one, other, third = three
    alice, bob, carol = await one.user("alice"), await other.user("bob"), await third.user("carol")
    room = await alice.create_room(preset="public_chat")
    levels = (await alice.get(room_path(room, "state", "m.room.power_levels"))).ok()
    await alice.set_state(room, "m.room.power_levels", levels | {"state_default": 0})
    await join_via(bob, room, one)
    await bob.set_state(room, "m.room.topic", {"topic": "What the room is about"})

    async def is_known() -> bool:
        return (await alice.get(room_path(room, "state", "m.room.topic"))).status == 200

    await until(is_known, what="that the topic is known")
    await alice.invite(room, carol.user_id)
    await section(carol, room, "invite")
    await sees(bob, room, carol.user_id, "invite")
    cut(one, third)
    await carol.leave(room)
    await sees(bob, room, carol.user_id, "leave")
    await section(carol, room, "leave")


@pytest.mark.parametrize("version", ["10", "12"])
async def test_a_room_for_members_and_those_who_knock(two: Two, version: str) -> None:
    """`knock_restricted`: the resident server signs the join of a member of the space; others knock."""
    alice, bob, carol = [
        await server.user(name)
        for server, name in ((two.one, "alice"), (two.other, "bob"), (two.other, "carol"))
    ]
    space = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": space}]
    rule = {"join_rule": "knock_restricted", "allow": allow}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room = await alice.create_room(initial_state=state, room_version=version)
    await join_via(bob, space, two.one)
    refused = await carol.post(path_of("join", room), via=[two.one.server_name])
    refused.error(403, "M_FORBIDDEN")
    (await carol.post(path_of("knock", room), via=[two.one.server_name])).ok()
    await sees(alice, room, carol.user_id, "knock")
    await join_via(bob, room, two.one)
    joined = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert joined["join_authorised_via_users_server"] == alice.user_id
    for server in (two.one, two.other):
        signers = await server.running.server.database.read(signers_of, room, bob.user_id)
        assert signers == {two.one.server_name, two.other.server_name}
    assert await state_of(bob, room) == await state_of(alice, room)
    assert await membership(bob, room, carol.user_id) == "knock"


def signers_of(tx: ReadTransaction, room_id: str, user_id: str) -> set[str]:
    """Who has signed the user's membership."""
    room_nid = rooms.nid_of(tx, room_id)
    assert room_nid is not None
    member = memberships.of(tx, room_nid, user_id)
    assert member is not None
    stored = events.of(tx, member.event_id)
    assert stored is not None
    signatures = decode_object(stored.pdu)["signatures"]
    assert isinstance(signatures, dict)
    return set(signatures)


async def test_the_answer_waits_for_few_members_only(
    servers: Servers, peer: Peer, numeric_peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a room is on many servers, the members would be long in coming."""
    monkeypatch.setattr(remote_joins, "WHOLE_MS", 60_000)
    server = await servers.start()
    alice, bob = await server.user("alice"), await server.user("bob")
    small, big = PartialRoom.create(peer), PartialRoom.create(numeric_peer)
    big.others.extend(nowhere() for _ in range(remote_joins.FEW_SERVERS))
    await big.join(alice)
    assert await is_partial(server, big.room_id)
    waiting = Deferred.fromCoroutine(small.join(bob))

    async def is_asked_for() -> bool:
        return small.gate.came > 0

    await until(is_asked_for, what="that the members are asked for")
    assert not waiting.called
    small.gate.open()
    await waiting
    assert not await is_partial(server, small.room_id)
    assert big.gate.came
    big.gate.open()
    await until_whole(server, big.room_id)
