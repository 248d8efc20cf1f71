"""Joining a room by way of a server that is not honest."""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.core.event_format import MAX_EVENT_BYTES
from homeserver.core.room_versions import get_room_version
from homeserver.core.signing import add_signature
from tests.api.server import path_of, room_path
from tests.federation.harness import Servers
from tests.federation.meetings import VERSIONS, sees, state_of
from tests.federation.peer import Broken, Endless, Heard, Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom, join

MAKE_JOIN = federation("v1") + "make_join/{room_id}/{user_id}"
MAKE_LEAVE = federation("v1") + "make_leave/{room_id}/{user_id}"
SEND_JOIN = federation("v2") + "send_join/{room_id}/{event_id}"
SEND_LEAVE = federation("v2") + "send_leave/{room_id}/{event_id}"
Change = Callable[[Any], object]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_honest_room_is_joined(servers: Servers, peer: Peer, version: str) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer, version)
    for number in range(60):
        member = f"@user{number}:{peer.server_name}"
        room.append("m.room.member", {"membership": "join"}, member, sender=member)
    (await alice.post(path_of("join", room.room_id), via=[peer.server_name])).ok()
    state = (await alice.get(room_path(room.room_id, "state"))).ok()
    assert {(event["type"], event["state_key"]): event["event_id"] for event in state} == room.state
    members = (await alice.get(room_path(room.room_id, "joined_members"))).ok()["joined"]
    assert len(members) == 62


TEMPLATES: dict[str, Change] = {
    "another type": lambda event: event.update(type="m.room.power_levels"),
    "another room": lambda event: event.update(room_id="!other:example.org"),
    "another sender": lambda event: event.update(sender="@root:example.org"),
    "another user": lambda event: event.update(state_key="@root:example.org"),
    "another membership": lambda event: event["content"].update(membership="ban"),
    "no content": lambda event: event.pop("content"),
    "no place": lambda event: event.update(prev_events=[]),
    "too many parents": lambda event: event.update(prev_events=event["prev_events"] * 21),
    "parents that are none": lambda event: event.update(prev_events=[{}]),
    "no auth events": lambda event: event.pop("auth_events"),
    "absurd depth": lambda event: event.update(depth=2**53),
    "depth that is no number": lambda event: event.update(depth="1"),
    "another server vouches": lambda event: event["content"].update(
        join_authorised_via_users_server="@root:example.org"
    ),
}


@pytest.mark.parametrize("change", TEMPLATES.values(), ids=TEMPLATES.keys())
async def test_a_bad_template_is_not_signed(servers: Servers, peer: Peer, change: Change) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer)
    honest = room._make_join

    def spoilt(heard: Heard) -> Reply:
        reply = honest(heard)
        body: Any = reply.body
        change(body["event"])
        return reply

    peer.answer("GET", MAKE_JOIN, spoilt)
    (await alice.post(path_of("join", room.room_id), via=[peer.server_name])).error(502, "M_UNKNOWN")
    assert not peer.heard_at("send_join")


async def test_nothing_of_a_template_is_signed_but_its_place(servers: Servers, peer: Peer) -> None:
    """CVE-2025-68667."""
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer)
    honest = room._make_join

    def spoilt(heard: Heard) -> Reply:
        reply = honest(heard)
        body: Any = reply.body
        body["event"] |= {"redacts": "$x", "origin": "example.org", "extra": {"a": 1}, "unsigned": {"b": 2}}
        body["event"]["content"] |= {"displayname": "Mallory", "reason": "because"}
        body["event"]["origin_server_ts"] = 5
        return reply

    peer.answer("GET", MAKE_JOIN, spoilt)
    (await alice.post(path_of("join", room.room_id), {"reason": "mine"}, via=[peer.server_name])).ok()
    (sent,) = peer.heard_at("send_join")
    assert sent.json["content"] == {"membership": "join", "displayname": "alice", "reason": "mine"}
    assert not sent.json.keys() & {"redacts", "extra", "unsigned"}
    assert sent.json["origin"] == one.server_name
    assert sent.json["origin_server_ts"] > 5


def without(kind: str) -> Change:
    """The room loses an event of this type."""

    def change(body: Any) -> None:
        for part in ("state", "auth_chain"):
            body[part] = [pdu for pdu in body[part] if pdu["type"] != kind]

    return change


def forge(kind: str) -> Change:
    """An event of this type says something else than was signed."""

    def change(body: Any) -> None:
        for part in ("state", "auth_chain"):
            for pdu in body[part]:
                if pdu["type"] == kind:
                    pdu["depth"] = pdu["depth"] + 1

    return change


ANSWERS: dict[str, Change] = {
    "no create event": without("m.room.create"),
    "no join rules": without("m.room.join_rules"),
    "a forged create event": forge("m.room.create"),
    "forged join rules": forge("m.room.join_rules"),
    "no state": lambda body: body.pop("state"),
    "a state that is none": lambda body: body.update(state={}),
    "no events in the state": lambda body: body.update(state=[1, None, "x", {}]),
    "no auth chain": lambda body: body.update(auth_chain=[], state=body["state"][1:]),
}


@pytest.mark.parametrize("change", ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_room_that_does_not_stand_is_not_entered(
    servers: Servers, peer: Peer, change: Change
) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer)
    honest = room._send_join

    def spoilt(heard: Heard) -> Reply:
        reply = honest(heard)
        change(reply.body)
        return reply

    peer.answer("PUT", SEND_JOIN, spoilt)
    (await alice.post(path_of("join", room.room_id), via=[peer.server_name])).error(502, "M_UNKNOWN")
    assert (await alice.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}
    assert "rooms" not in await alice.sync()


async def test_bad_events_of_a_room_are_left_out(servers: Servers, peer: Peer) -> None:
    """What does not pass the checks is not there; what nobody was allowed to do does not count."""
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer)
    nobody = f"@nobody:{peer.server_name}"
    room.append("m.room.topic", {"topic": "by nobody"}, "", sender=nobody)
    room.append("m.room.name", {"name": "Good"}, "")
    honest = room._send_join

    def spoilt(heard: Heard) -> Reply:
        reply = honest(heard)
        body: Any = reply.body
        other = PeerRoom.create(peer)
        body["state"] += [other.events[event_id] for event_id in other.state.values()]
        body["state"] += [{**room.make("m.room.avatar", {}, ""), "signatures": {}}]
        body["state"] += [room.make("m.room.message", {"body": "no state"})]
        return reply

    peer.answer("PUT", SEND_JOIN, spoilt)
    (await alice.post(path_of("join", room.room_id), via=[peer.server_name])).ok()
    state = (await alice.get(room_path(room.room_id, "state"))).ok()
    shown = {event["type"] for event in state}
    assert shown == {
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.name",
    }


async def test_a_second_server_helps_where_the_first_is_hostile(servers: Servers, peer: Peer) -> None:
    one, other = await servers.start(), await servers.start()
    alice, bob = await one.user("alice"), await other.user("bob")
    room = await alice.create_room(preset="public_chat")
    PeerRoom.create(peer)
    (await bob.post(path_of("join", room), via=[peer.server_name, one.server_name])).ok()


@pytest.mark.parametrize("first", [b"", b'{"origin": "elsewhere", "state": [{"type": "m.room.cre'])
async def test_a_second_server_helps_where_the_first_dies(servers: Servers, peer: Peer, first: bytes) -> None:
    """After it has made the join: before it answers that it has it, or amidst that answer."""
    one, other = await servers.start(), await servers.start()
    alice, bob = await one.user("alice"), await other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await join(peer, one.server_name, room)
    peer.answer("PUT", SEND_JOIN, Broken(first))
    (await bob.post(path_of("join", room), via=[peer.server_name, one.server_name])).ok()
    assert len(peer.heard_at("make_join")) == 1
    assert len(peer.heard_at("send_join")) >= 1
    await sees(alice, room, bob.user_id, "join")
    assert await state_of(bob, room) == await state_of(alice, room)


async def test_of_which_version_the_room_is_that_cannot_be_joined(servers: Servers, peer: Peer) -> None:
    """Client-server API, "Standard error response": `M_INCOMPATIBLE_ROOM_VERSION` has `room_version`."""
    one = await servers.start()
    alice = await one.user("alice")
    refusal = {"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "No", "room_version": "org.example.1"}
    room = PeerRoom.create(peer)
    for what in ("join", "knock"):
        peer.answer("GET", federation("v1") + f"make_{what}/{{room_id}}/{{user_id}}", Reply(refusal, 400))
        answer = await alice.post(path_of(what, room.room_id), via=[peer.server_name])
        assert answer.error(400, "M_INCOMPATIBLE_ROOM_VERSION")["room_version"] == "org.example.1"
    # For who invites there is another code.
    own = await alice.create_room()
    peer.answer("PUT", federation("v2") + "invite/{room_id}/{event_id}", Reply(refusal, 400))
    answer = await alice.post(room_path(own, "invite"), {"user_id": f"@mallory:{peer.server_name}"})
    answer.error(400, "M_UNSUPPORTED_ROOM_VERSION")


async def test_an_answer_without_end_is_broken_off(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer)
    endless = Endless(b" " * MAX_EVENT_BYTES)
    peer.answer("GET", MAKE_JOIN, endless)
    (await alice.post(path_of("join", room.room_id), via=[peer.server_name])).error(502, "M_UNKNOWN")
    assert endless.is_over


async def test_who_answers_nonsense_does_not_keep_an_invitation_alive(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room = PeerRoom.create(peer, join_rule="invite")
    invite = room.make("m.room.member", {"membership": "invite"}, alice.user_id, origin=peer.server_name)
    event_id = room.accept(invite)
    body = {
        "room_version": room.version.identifier,
        "event": invite,
        "invite_room_state": [room.events[room.state["m.room.create", ""]]],
    }
    path = federation("v2", "invite", room.room_id, event_id)
    (await peer.request("PUT", one.server_name, path, body)).ok()
    assert room.room_id in (await alice.sync())["rooms"]["invite"]
    peer.answer("GET", MAKE_LEAVE, Reply({"event": {"type": "m.room.create"}}))
    await alice.leave(room.room_id)
    assert not peer.heard_at("send_leave")
    assert "rooms" not in await alice.sync()


async def test_the_first_version_of_invitations_is_spoken_too(servers: Servers, peer: Peer) -> None:
    """ "Senders which receive a 400 or 404 response to this endpoint should retry using the v1 API"."""
    one = await servers.start()
    alice = await one.user("alice")
    room = await alice.create_room(room_version="2")
    mallory = f"@mallory:{peer.server_name}"

    def signed(heard: Heard) -> Reply:
        event = {key: value for key, value in heard.json.items() if key != "unsigned"}
        assert [pdu["type"] for pdu in heard.json["unsigned"]["invite_room_state"]]
        version = get_room_version("2")
        return Reply([200, {"event": add_signature(event, version, peer.server_name, peer.key)}])

    peer.answer("PUT", federation("v1") + "invite/{room_id}/{event_id}", signed)
    await alice.invite(room, mallory)
    assert len(peer.heard_at("/invite/")) == 2
    newer = await alice.create_room(room_version="10")
    (await alice.post(room_path(newer, "invite"), {"user_id": mallory})).error(502, "M_UNKNOWN")


async def test_of_a_signed_invitation_only_the_signature_is_used(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room = await alice.create_room(room_version="10")
    mallory = f"@mallory:{peer.server_name}"

    def changed(heard: Heard) -> Reply:
        event = heard.json["event"]
        signed = add_signature(event, get_room_version("10"), peer.server_name, peer.key)
        return Reply({"event": signed | {"content": {"membership": "join"}, "sender": mallory, "extra": 1}})

    peer.answer("PUT", federation("v2") + "invite/{room_id}/{event_id}", changed)
    await alice.invite(room, mallory)
    state = (await alice.get(room_path(room, "state"))).ok()
    (event,) = [each for each in state if each["state_key"] == mallory]
    assert (event["sender"], event["content"]) == (alice.user_id, {"membership": "invite"})
    peer.answer("PUT", federation("v2") + "invite/{room_id}/{event_id}", Reply({"event": {}}))
    unsigned = f"@other:{peer.server_name}"
    (await alice.post(room_path(room, "invite"), {"user_id": unsigned})).error(502, "M_UNKNOWN")
