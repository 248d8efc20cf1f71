"""Invitations from a foreign server. Server-server API, `invites-v1.yaml` and `invites-v2.yaml`."""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.core.signing import verify_event
from tests.api.server import Answer, Client, path_of
from tests.federation.harness import FederatedServer, Servers
from tests.federation.meetings import VERSIONS
from tests.federation.peer import Peer, federation
from tests.federation.peer_rooms import PeerRoom
from tests.federation.scene import set_scene, set_scene_with


@pytest.fixture
async def one(servers: Servers) -> FederatedServer:
    return await servers.start()


@pytest.fixture
async def alice(one: FederatedServer) -> Client:
    return await one.user("alice")


def invite(room: PeerRoom, user_id: str, **options: Any) -> Any:
    options = {"origin": room.peer.server_name} | options
    return room.make("m.room.member", {"membership": "invite"}, user_id, **options)


def told(room: PeerRoom) -> list[Any]:
    """What the room's servers tell of it."""
    return room.pdus([room.state[key, ""] for key in ("m.room.create", "m.room.join_rules")])


async def send(room: PeerRoom, one: FederatedServer, event: Any, **changes: Any) -> Answer:
    """Send an invitation; `changes` to the body, `room_id` and `event_id` to the path."""
    room_id = changes.pop("room_id", room.room_id)
    event_id = changes.pop("event_id", room.id_of(event))
    body = {
        "room_version": room.version.identifier,
        "event": event,
        "invite_room_state": told(room),
    } | changes
    return await room.peer.request(
        "PUT", one.server_name, federation("v2", "invite", room_id, event_id), body
    )


async def invited_to(client: Client) -> dict[str, Any]:
    """The rooms that the user is invited to."""
    found: dict[str, Any] = (await client.sync()).get("rooms", {}).get("invite", {})
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invitation_is_signed_and_shown(
    one: FederatedServer, alice: Client, peer: Peer, version: str
) -> None:
    room = PeerRoom.create(peer, version, join_rule="invite")
    event = invite(room, alice.user_id)
    signed = (await send(room, one, event)).ok()["event"]
    assert signed["signatures"].keys() == {peer.server_name, one.server_name}
    verify_event(signed, room.version, one.server_name, one.key.key_id, one.key.verify_key)
    assert signed | {"signatures": None} == event | {"signatures": None}
    shown = (await invited_to(alice))[room.room_id]["invite_state"]["events"]
    assert [each["type"] for each in shown] == ["m.room.create", "m.room.join_rules", "m.room.member"]
    assert all(each.keys() == {"type", "state_key", "sender", "content"} for each in shown)
    (await send(room, one, event)).ok()
    assert len(await invited_to(alice)) == 1


@pytest.mark.parametrize("version", ["1", "2"])
async def test_an_invitation_by_the_first_version(
    one: FederatedServer, alice: Client, peer: Peer, version: str
) -> None:
    room = PeerRoom.create(peer, version, join_rule="invite")
    event = invite(room, alice.user_id)
    path = federation("v1", "invite", room.room_id, room.id_of(event))
    unsigned = {"invite_room_state": told(room)}
    answer = (await peer.request("PUT", one.server_name, path, event | {"unsigned": unsigned})).ok()
    assert answer[0] == 200
    assert one.server_name in answer[1]["event"]["signatures"]
    assert room.room_id in await invited_to(alice)


async def test_old_servers_give_stripped_state(one: FederatedServer, alice: Client, peer: Peer) -> None:
    room = PeerRoom.create(peer, "10", join_rule="invite")
    stripped = [
        {key: pdu[key] for key in ("type", "state_key", "sender", "content")} | {"more": 1}
        for pdu in told(room)
    ]
    (await send(room, one, invite(room, alice.user_id), invite_room_state=stripped)).ok()
    shown = (await invited_to(alice))[room.room_id]["invite_state"]["events"]
    assert shown[0] == {key: stripped[0][key] for key in ("type", "state_key", "sender", "content")}


NONSENSE: list[Any] = [
    [{}],
    [{"type": 5, "state_key": [], "sender": None, "content": "x"}],
    [{"type": "m.room.create", "state_key": "", "sender": "@a:b", "content": []}],
    [],
]


@pytest.mark.parametrize("state", NONSENSE)
async def test_malformed_state_breaks_no_sync(
    one: FederatedServer, alice: Client, peer: Peer, state: Any
) -> None:
    """CVE-2024-52815."""
    room = PeerRoom.create(peer, "11", join_rule="invite")
    (await send(room, one, invite(room, alice.user_id), invite_room_state=state)).ok()
    shown = (await invited_to(alice))[room.room_id]["invite_state"]["events"]
    assert [each["type"] for each in shown] == ["m.room.member"]


async def test_the_newest_room_version_wants_proper_state(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    """The rules of version 1.16 of the specification."""
    room, other = PeerRoom.create(peer, "12"), PeerRoom.create(peer, "12", localpart="other")
    event = invite(room, alice.user_id)
    create, rules = told(room)
    for state, errcode in (
        (None, "M_MISSING_PARAM"),
        ([], "M_MISSING_PARAM"),
        ([rules], "M_MISSING_PARAM"),
        (
            [create, {"type": "m.room.name", "state_key": "", "sender": "@a:b", "content": {}}],
            "M_INVALID_PARAM",
        ),
        ([create, rules | {"signatures": {}}], "M_INVALID_PARAM"),
        ([create, *told(other)[1:]], "M_INVALID_PARAM"),
        (told(other), "M_INVALID_PARAM"),
        ([create, room.make("m.room.message", {})], "M_INVALID_PARAM"),
        ([create] * 51, "M_INVALID_PARAM"),
        ([create, "x"], "M_INVALID_PARAM"),
    ):
        (await send(room, one, event, invite_room_state=state)).error(400, errcode)
    assert await invited_to(alice) == {}
    (await send(room, one, event)).ok()


async def test_what_is_no_invitation_is_not_signed(one: FederatedServer, alice: Client, peer: Peer) -> None:
    """ "to ensure they don't accidentally sign non-invite events from a malicious server"."""
    room = PeerRoom.create(peer, "11", join_rule="invite")
    right = invite(room, alice.user_id)
    wrong: list[Callable[[], Any]] = [
        lambda: room.make("m.room.topic", {"membership": "invite"}, alice.user_id),
        lambda: room.make("m.room.member", {"membership": "join"}, alice.user_id),
        lambda: room.make("m.room.member", {"membership": "invite"}),
        lambda: invite(room, alice.user_id, sender="@x:elsewhere.example"),
        lambda: invite(room, alice.user_id, sender=alice.user_id),
        lambda: invite(room, f"@y:{peer.server_name}"),
        lambda: right | {"signatures": {}},
        lambda: right | {"content": {"membership": "invite", "displayname": "changed afterwards"}},
        lambda: right | {"depth": -1},
    ]
    for make in wrong:
        (await send(room, one, make())).error(400, "M_INVALID_PARAM")
    (await send(room, one, right, event_id="$other")).error(400, "M_INVALID_PARAM")
    (await send(room, one, right, room_id="!other:example.org")).error(400, "M_INVALID_PARAM")
    unknown = await send(room, one, right, room_version="org.example.unknown")
    assert unknown.error(400, "M_INCOMPATIBLE_ROOM_VERSION")["room_version"] == "org.example.unknown"
    assert await invited_to(alice) == {}


@pytest.mark.parametrize("version", ["1", "12"])
async def test_an_invitation_notifies_as_one_to_a_room_here(
    one: FederatedServer, alice: Client, peer: Peer, version: str
) -> None:
    room = PeerRoom.create(peer, version, join_rule="invite")
    (await send(room, one, invite(room, alice.user_id))).ok()
    (shown,) = (await alice.get(path_of("notifications"))).ok()["notifications"]
    assert shown["room_id"] == room.room_id
    assert shown["actions"] == ["notify", {"set_tweak": "sound", "value": "default"}]


async def test_who_cannot_be_invited(one: FederatedServer, alice: Client, peer: Peer) -> None:
    room = PeerRoom.create(peer, "11", join_rule="invite")
    nobody = f"@nobody:{one.server_name}"
    (await send(room, one, invite(room, nobody))).error(403, "M_FORBIDDEN")
    path = path_of("user", alice.user_id, "account_data", "m.invite_permission_config")
    (await alice.put(path, {"default_action": "block"})).ok()
    (await send(room, one, invite(room, alice.user_id))).error(403, "M_INVITE_BLOCKED")
    assert await invited_to(alice) == {}


async def test_a_server_that_the_room_denies_invites_nobody(servers: Servers, numeric_peer: Peer) -> None:
    """Server-server API, "Server Access Control Lists (ACLs)": by either version of the endpoint."""
    newer = await set_scene(servers, numeric_peer)
    older = await set_scene_with(newer.server, newer.alice, numeric_peer, "2")
    bob = await newer.server.user("bob")
    content: dict[str, Any] = {"allow": ["*"], "allow_ip_literals": False}
    for scene in (newer, older):
        event = invite(scene.room, bob.user_id, sender=scene.mallory)
        await scene.alice.set_state(scene.room.room_id, "m.room.server_acl", content)
        (await send(scene.room, scene.server, event)).error(403, "M_FORBIDDEN")
        path = federation("v1", "invite", scene.room.room_id, scene.room.id_of(event))
        refused = await numeric_peer.request("PUT", scene.server.server_name, path, event)
        assert refused.status == (403 if scene is older else 400), refused
    assert await invited_to(bob) == {}


async def test_an_invitation_after_a_knock(one: FederatedServer, alice: Client, peer: Peer) -> None:
    """ "receiving servers should be prepared to manually link up a previous knock to an invite"."""
    room = PeerRoom.create(peer, "11", join_rule="knock")
    made = room._template(alice.user_id, "knock")
    peer.answer("GET", federation("v1") + "make_knock/{room_id}/{user_id}", made)
    knocked = {"knock_room_state": told(room)}
    peer.answer("PUT", federation("v1") + "send_knock/{room_id}/{event_id}", knocked)
    (await alice.post(path_of("knock", room.room_id), via=[peer.server_name])).ok()
    synced = await alice.sync()
    assert room.room_id in synced["rooms"]["knock"]
    (await send(room, one, invite(room, alice.user_id))).ok()
    after = await alice.sync(synced["next_batch"])
    assert room.room_id in after["rooms"]["invite"]
    assert room.room_id not in (await alice.sync())["rooms"].get("knock", {})


@pytest.mark.parametrize("version", ["1", "2"])
async def test_an_id_that_another_event_has_is_no_invitation(
    servers: Servers, peer: Peer, version: str
) -> None:
    """Old room versions leave event IDs to servers: one of ours must not read the other event for it ever after."""
    scene = await set_scene(servers, peer, version)
    message = scene.says("hello", event_id=f"$chosen:{peer.server_name}")
    (await scene.send([message])).ok()
    await scene.seen("hello")
    bob = await scene.server.user("bob")
    room = PeerRoom.create(peer, version, join_rule="invite")
    event = invite(room, bob.user_id, event_id=message["event_id"])
    (await send(room, scene.server, event)).error(400, "M_INVALID_PARAM")
    assert await invited_to(bob) == {}
    # The other way round, too: in one room, of which only the invitation is known.
    (await send(room, scene.server, invite(room, bob.user_id, event_id=f"$x:{peer.server_name}"))).ok()
    (
        await send(room, scene.server, invite(room, scene.alice.user_id, event_id=f"$x:{peer.server_name}"))
    ).error(400, "M_INVALID_PARAM")
    assert (await invited_to(bob)).keys() == {room.room_id}
    assert await invited_to(scene.alice) == {}


async def test_invitations_may_disagree_on_the_version_of_their_room(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    """Whoever invites first need not know, or tell the truth."""
    bob = await one.user("bob")
    room = PeerRoom.create(peer, "10", join_rule="invite")
    lie = PeerRoom.create(peer, "1", join_rule="invite")
    lie.room_id = room.room_id
    first = invite(lie, alice.user_id)
    (await send(lie, one, first)).ok()
    (await send(room, one, invite(room, bob.user_id))).ok()
    # Withdrawn by an event of the true version, which has to be understood for that.
    room.append("m.room.member", {"membership": "invite"}, bob.user_id)
    kick = room.make("m.room.member", {"membership": "leave"}, bob.user_id)
    (await peer.send(one.server_name, [kick])).ok()
    assert await invited_to(bob) == {}
    (await send(room, one, invite(room, bob.user_id))).ok()
    peer.answer("GET", "/_matrix/federation/v1/make_leave/{room_id}/{user_id}", {})
    for client in (alice, bob):
        assert (await invited_to(client)).keys() == {room.room_id}
        (await client.post(path_of("rooms", room.room_id, "leave"))).ok()
        assert await invited_to(client) == {}


async def test_an_invitation_that_the_room_knows_nothing_of_ends_when_it_is_joined(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    """It could neither be accepted nor rejected: nothing in the room's state is there to go by."""
    bob = await one.user("bob")
    room = PeerRoom.create(peer)
    (await send(room, one, invite(room, alice.user_id))).ok()
    since = (await alice.sync())["next_batch"]
    assert room.room_id in await invited_to(alice)
    (await bob.post(path_of("join", room.room_id), via=[peer.server_name])).ok()
    assert room.room_id not in await invited_to(alice)
    later = await alice.sync(since)
    assert room.room_id not in later.get("rooms", {}).get("invite", {})
    assert room.room_id in later["rooms"]["leave"]
    await alice.join(room.room_id)
    assert room.room_id in (await alice.sync())["rooms"]["join"]
