"""Joining rooms of other servers. Server-server API, "Joining Rooms"."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import Client, path_of, room_path
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, cut, free_port, until
from tests.federation.meetings import VERSIONS, join_via, membership, section, sees, state_of
from tests.federation.peer import Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom

Three = tuple[FederatedServer, FederatedServer, FederatedServer]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_is_joined_by_its_id(two: Two, version: str) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat", room_version=version, name="Meeting")
    assert await join_via(bob, room, two.one) == room
    assert await state_of(bob, room) == await state_of(alice, room)
    synced = (await bob.sync())["rooms"]["join"][room]
    shown = {(event["type"], event.get("state_key")) for event in synced["state"]["events"]}
    assert ("m.room.name", "") in shown
    assert ("m.room.member", alice.user_id) in shown
    assert [event["sender"] for event in synced["timeline"]["events"]] == [bob.user_id]
    assert synced["summary"]["m.joined_member_count"] == 2
    assert (await bob.get(path_of("joined_rooms"))).ok() == {"joined_rooms": [room]}


async def test_a_room_is_joined_by_its_alias(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat", room_alias_name="meeting")
    alias = f"#meeting:{two.one.server_name}"
    found = (await bob.get(path_of("directory", "room", alias))).ok()
    assert found == {"room_id": room, "servers": [two.one.server_name]}
    assert await join_via(bob, alias) == room
    assert await membership(alice, room, bob.user_id) == "join"


async def test_a_waiting_sync_learns_of_the_join(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    since = (await bob.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=20_000))
    await join_via(bob, room, two.one)
    assert room in (await waiting)["rooms"]["join"]


async def test_who_meets_sees_who_is_online(two: Two) -> None:
    """Neither has changed their presence since: it is told because of the join."""
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    for user in (alice, bob):
        (await user.put(path_of("presence", user.user_id, "status"), {"presence": "online"})).ok()
    await join_via(bob, room, two.one)
    for user, other in ((alice, bob), (bob, alice)):

        async def sees_other(user: Client = user, other: Client = other) -> bool:
            shown = (await user.sync()).get("presence", {}).get("events", [])
            return (other.user_id, "online") in {(e["sender"], e["content"]["presence"]) for e in shown}

        await until(sees_other, what=f"{user.user_id} sees {other.user_id}")


async def test_the_second_user_needs_no_other_server(two: Two) -> None:
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.other.user("bob"),
        await two.other.user("carol"),
    )
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    cut(two.one, two.other)
    await carol.join(room)
    assert await membership(bob, room, carol.user_id) == "join"


async def test_users_who_join_at_once_share_the_room(two: Two) -> None:
    alice = await two.one.user("alice")
    users = [await two.other.user(f"user{number}") for number in range(4)]
    room = await alice.create_room(preset="public_chat")
    await gatherResults([Deferred.fromCoroutine(join_via(user, room, two.one)) for user in users])
    for user in users:
        assert [await membership(user, room, other.user_id) for other in users] == ["join"] * 4
    for user in users:
        await sees(alice, room, user.user_id, "join")
    assert await state_of(users[0], room) == await state_of(alice, room)


async def test_who_may_not_join_is_told_so(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    closed = await alice.create_room()
    (await bob.post(path_of("join", closed), via=[two.one.server_name])).error(403, "M_FORBIDDEN")
    room = await alice.create_room(preset="public_chat")
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    (await bob.post(path_of("join", room), via=[two.one.server_name])).error(403, "M_FORBIDDEN")
    assert (await bob.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}


async def test_a_banned_server_is_told_so(servers: Servers, peer: Peer) -> None:
    """Server-server API, "Server Access Control Lists (ACLs)"."""
    server = await servers.start()
    alice = await server.user("alice")
    room = PeerRoom.create(peer)
    refusal = Reply({"errcode": "M_FORBIDDEN", "error": "Your server is banned from this room"}, 403)
    peer.answer("GET", federation("v1") + "make_join/{room_id}/{user_id}", refusal)
    answer = await alice.post(path_of("join", room.room_id), via=[peer.server_name])
    assert answer.error(403, "M_FORBIDDEN")["error"] == "Your server is banned from this room"


async def test_access_control_lists_know_names_without_ports(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    acl = {"allow": ["*"], "deny": ["elsewhere"], "allow_ip_literals": True}
    await alice.set_state(room, "m.room.server_acl", acl)
    assert await join_via(bob, room, two.one) == room


async def test_what_no_server_knows(two: Two) -> None:
    bob = await two.other.user("bob")
    nowhere = f"!nowhere:{two.one.server_name}"
    (await bob.post(path_of("join", nowhere))).error(404, "M_NOT_FOUND")
    alias = f"#nowhere:{two.one.server_name}"
    (await bob.post(path_of("join", alias))).error(404, "M_NOT_FOUND")
    cut(two.one, two.other)
    (await bob.post(path_of("join", nowhere))).error(502, "M_UNKNOWN")
    (await bob.post(path_of("join", alias))).error(502, "M_UNKNOWN")


async def test_servers_are_tried_in_turn(three: Three) -> None:
    one, other, third = three
    alice, bob, carol = await one.user("alice"), await other.user("bob"), await third.user("carol")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, one)
    nowhere = f"localhost:{free_port()}"
    (await carol.post(path_of("join", room), via=[nowhere, other.server_name])).ok()
    await sees(bob, room, carol.user_id, "join")
    assert await membership(carol, room, bob.user_id) == "join"


async def test_a_room_is_joined_again_as_it_has_become(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat", name="Before")
    await join_via(bob, room, two.one)
    since = (await bob.sync())["next_batch"]
    await bob.leave(room)
    await sees(alice, room, bob.user_id, "leave")
    await alice.set_state(room, "m.room.name", {"name": "After"})
    carol = await two.one.user("carol")
    await carol.join(room)
    await join_via(bob, room, two.one)
    assert await state_of(bob, room) == await state_of(alice, room)
    assert (await bob.get(room_path(room, "state", "m.room.name"))).ok() == {"name": "After"}
    joined = (await bob.get(room_path(room, "joined_members"))).ok()["joined"]
    assert set(joined) == {alice.user_id, bob.user_id, carol.user_id}
    assert room in (await bob.sync(since))["rooms"]["join"]


async def restricted(owner: Client, allowed: str, **options: Any) -> str:
    """A room for the members of another."""
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": allowed}]}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    return await owner.create_room(initial_state=state, **options)


@pytest.mark.parametrize("version", ["8", "10", "12"])
async def test_a_restricted_room_is_open_to_the_members_of_the_space(two: Two, version: str) -> None:
    """Server-server API, "Restricted rooms"."""
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    space = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    room = await restricted(alice, space, room_version=version)
    (await bob.post(path_of("join", room), via=[two.one.server_name])).error(403, "M_FORBIDDEN")
    await join_via(bob, space, two.one)
    await join_via(bob, room, two.one)
    event = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert event["join_authorised_via_users_server"] == alice.user_id
    assert await state_of(bob, room) == await state_of(alice, room)


async def test_a_server_that_knows_the_space_lets_in(three: Three) -> None:
    """ "The joining server should try a different server": the first one is not in the space."""
    one, other, third = three
    alice, bob, carol = await one.user("alice"), await other.user("bob"), await third.user("carol")
    space = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    room = await restricted(alice, space)
    await alice.invite(room, bob.user_id)
    await section(bob, room, "invite")
    await join_via(bob, room, one)
    await join_via(carol, space, one)
    assert await join_via(carol, room, other, one) == room
    await sees(bob, room, carol.user_id, "join")


async def test_a_member_elsewhere_vouches_where_nobody_here_can(two: Two) -> None:
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.other.user("bob"),
        await two.other.user("carol"),
    )
    space = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    room = await restricted(alice, space, power_level_content_override={"invite": 50})
    for user in (bob, carol):
        await join_via(user, space, two.one)
    await join_via(bob, room, two.one)

    async def is_known_there() -> bool:
        return await membership(alice, space, carol.user_id) == "join"

    await until(is_known_there, what="the other server sees carol in the space")
    await join_via(carol, room, two.one)
    assert await membership(bob, room, carol.user_id) == "join"
    assert await state_of(bob, room) == await state_of(alice, room)


async def test_the_account_decides_before_anybody_is_asked(servers: Servers) -> None:
    one = await servers.start()
    bob = await one.user("bob")
    await one.running.restrict(bob, "is_suspended")
    (await bob.post(path_of("join", "!room:localhost:1"))).error(403, "M_USER_SUSPENDED")
