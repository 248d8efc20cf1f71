"""What a server in a room demands of those who join, leave and knock. Server-server API, "Joining Rooms"."""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.core.room_versions import get_room_version
from homeserver.core.signing import SigningKey
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.services import federation_joins
from tests.api.server import Client, path_of, room_path
from tests.federation.harness import FederatedServer, Servers
from tests.federation.meetings import VERSIONS, membership
from tests.federation.peer import Peer, federation
from tests.federation.peer_rooms import PeerRoom, join

ALL = [str(number) for number in range(1, 13)]


@pytest.fixture
async def one(servers: Servers) -> FederatedServer:
    return await servers.start()


@pytest.fixture
async def alice(one: FederatedServer) -> Client:
    return await one.user("alice")


def mallory(peer: Peer) -> str:
    return f"@mallory:{peer.server_name}"


async def make(peer: Peer, one: FederatedServer, what: str, room: str, user_id: str, **query: Any) -> Any:
    return await peer.request(
        "GET", one.server_name, federation("v1", f"make_{what}", room, user_id), query=query
    )


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_foreign_server_joins(one: FederatedServer, alice: Client, peer: Peer, version: str) -> None:
    room = await alice.create_room(preset="public_chat", room_version=version)
    joined = await join(peer, one.server_name, room)
    assert await membership(alice, room, mallory(peer)) == "join"
    state = (await alice.get(room_path(room, "state"))).ok()
    theirs = {event_id for key, event_id in joined.state.items() if key != ("m.room.member", mallory(peer))}
    assert {event["event_id"] for event in state if event["state_key"] != mallory(peer)} == theirs


async def test_the_answer_has_the_state_before_the_join(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    room = await alice.create_room(preset="public_chat", name="Club", room_version="11")
    made = (await make(peer, one, "join", room, mallory(peer), ver=ALL)).ok()
    assert made["room_version"] == "11"
    joining = PeerRoom(peer, get_room_version("11"), room)
    event = joining.seal({**made["event"], "origin_server_ts": 1})
    path = federation("v2", "send_join", room, joining.id_of(event))
    answer = (await peer.request("PUT", one.server_name, path, event)).ok()
    types = {(pdu["type"], pdu["state_key"]) for pdu in answer["state"]}
    assert ("m.room.name", "") in types
    assert ("m.room.member", mallory(peer)) not in types
    assert answer["members_omitted"] is False
    assert answer["servers_in_room"] == [one.server_name]
    assert answer["event"]["signatures"].keys() == {peer.server_name, one.server_name}
    ids = {joining.id_of(pdu) for pdu in [*answer["state"], *answer["auth_chain"]]}
    for pdu in [*answer["state"], *answer["auth_chain"], event]:
        assert set(pdu["auth_events"]) <= ids
    again = (await peer.request("PUT", one.server_name, path, event)).ok()
    assert again == answer | {"servers_in_room": sorted([one.server_name, peer.server_name])}


async def test_members_are_left_out_where_that_is_wanted(
    one: FederatedServer, alice: Client, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation_joins, "FEW_MEMBERS", 3)
    users = [await one.user(f"user{number}") for number in range(8)]
    for name in (None, "Club"):
        room = await alice.create_room(
            preset="public_chat", room_version="11", **({"name": name} if name else {})
        )
        for user in users:
            await user.join(room)
        made = (await make(peer, one, "join", room, mallory(peer), ver=ALL)).ok()
        joining = PeerRoom(peer, get_room_version("11"), room)
        event = joining.seal({**made["event"], "origin_server_ts": 1})
        path = federation("v2", "send_join", room, joining.id_of(event))
        answer = (
            await peer.request("PUT", one.server_name, path, event, query={"omit_members": "true"})
        ).ok()
        assert answer["members_omitted"] is True
        assert answer["servers_in_room"] == [one.server_name]
        members = [pdu for pdu in answer["state"] if pdu["type"] == "m.room.member"]
        assert len(members) == (0 if name else 5)
        ids = {joining.id_of(pdu) for pdu in [*answer["state"], *answer["auth_chain"]]}
        for pdu in [*answer["state"], *answer["auth_chain"], event]:
            assert set(pdu["auth_events"]) <= ids


async def test_templates_are_for_the_servers_own_users(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    room = await alice.create_room(preset="public_chat", room_version="11")
    for what in ("join", "leave", "knock"):
        for user_id in ("@bob:elsewhere.example", alice.user_id):
            (await make(peer, one, what, room, user_id, ver=ALL)).error(403, "M_FORBIDDEN")
        nowhere = await make(peer, one, what, "!nowhere:example.org", mallory(peer), ver=ALL)
        nowhere.error(404, "M_NOT_FOUND")


async def test_the_room_version_must_be_known(one: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await alice.create_room(preset="public_chat", room_version="11")
    for query in ({}, {"ver": ["1", "10"]}):
        refused = await make(peer, one, "join", room, mallory(peer), **query)
        error = refused.error(400, "M_INCOMPATIBLE_ROOM_VERSION")
        assert error["room_version"] == "11"
    (await make(peer, one, "knock", room, mallory(peer))).error(400, "M_MISSING_PARAM")


async def test_who_may_not_is_refused_a_template(one: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await alice.create_room(room_version="11")
    for what in ("join", "leave", "knock"):
        (await make(peer, one, what, room, mallory(peer), ver=ALL)).error(403, "M_FORBIDDEN")


async def test_restricted_rooms(one: FederatedServer, alice: Client, peer: Peer) -> None:
    """Server-server API, "Restricted rooms": which of the three errors."""
    space = await alice.create_room(preset="public_chat", room_version="11")
    other = "!unknown:elsewhere.example"
    for allowed, status, errcode in (
        ([space], 403, "M_FORBIDDEN"),
        ([], 403, "M_FORBIDDEN"),
        ([space, other], 400, "M_UNABLE_TO_AUTHORISE_JOIN"),
    ):
        allow = [{"type": "m.room_membership", "room_id": room_id} for room_id in allowed]
        rule = {"join_rule": "restricted", "allow": allow}
        state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
        room = await alice.create_room(room_version="11", initial_state=state)
        (await make(peer, one, "join", room, mallory(peer), ver=ALL)).error(status, errcode)
    await join(peer, one.server_name, space)
    made = (await make(peer, one, "join", room, mallory(peer), ver=ALL)).ok()
    assert made["event"]["content"]["join_authorised_via_users_server"] == alice.user_id
    levels = (await alice.get(room_path(room, "state", "m.room.power_levels"))).ok()
    await alice.set_state(room, "m.room.power_levels", levels | {"invite": 100, "users": {alice.user_id: 99}})
    (await make(peer, one, "join", room, mallory(peer), ver=ALL)).error(400, "M_UNABLE_TO_GRANT_JOIN")


async def test_a_restricted_join_is_checked_when_it_comes(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    space = await alice.create_room(preset="public_chat", room_version="11")
    allow = [{"type": "m.room_membership", "room_id": space}]
    rule = {"join_rule": "restricted", "allow": allow}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room = await alice.create_room(room_version="11", initial_state=state)
    outside = await join(peer, one.server_name, space)
    made = (await make(peer, one, "join", room, mallory(peer), ver=ALL)).ok()
    left = outside.make("m.room.member", {"membership": "leave"}, mallory(peer), sender=mallory(peer))
    path = federation("v2", "send_leave", space, outside.accept(left))
    (await peer.request("PUT", one.server_name, path, left)).ok()
    joining = PeerRoom(peer, get_room_version("11"), room)
    for content in (
        made["event"]["content"],
        {"membership": "join"},
        {"membership": "join", "join_authorised_via_users_server": mallory(peer)},
        {"membership": "join", "join_authorised_via_users_server": "@bob:elsewhere.example"},
        {"membership": "join", "join_authorised_via_users_server": 5},
    ):
        event = joining.seal({**made["event"], "content": content})
        path = federation("v2", "send_join", room, joining.id_of(event))
        answer = await peer.request("PUT", one.server_name, path, event)
        assert answer.status in (400, 403), answer
    assert await membership(alice, room, mallory(peer)) is None


Change = Callable[[Any], Any]

WRONG: dict[str, Change] = {
    "another type": lambda event: event | {"type": "m.room.topic"},
    "another membership": lambda event: event | {"content": {"membership": "ban"}},
    "about somebody else": lambda event: event | {"state_key": "@other:elsewhere.example"},
    "by somebody else": lambda event: (
        event | {"sender": "@x:elsewhere.example", "state_key": "@x:elsewhere.example"}
    ),
    "of another room": lambda event: event | {"room_id": "!other:elsewhere.example"},
}


@pytest.mark.parametrize("what", ["join", "leave", "knock"])
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
async def test_what_is_no_such_event(
    one: FederatedServer, alice: Client, peer: Peer, what: str, change: Change
) -> None:
    room, event = await submittable(one, alice, peer, what)
    joining = PeerRoom(peer, get_room_version("11"), room)
    wrong = joining.seal(change(event))
    answer = await put(peer, one, what, room, joining.id_of(wrong), wrong)
    answer.error(400, "M_INVALID_PARAM")
    right = joining.seal(event)
    (await put(peer, one, what, room, joining.id_of(right), right)).ok()


@pytest.mark.parametrize("what", ["join", "leave", "knock"])
async def test_signatures_and_hashes(one: FederatedServer, alice: Client, peer: Peer, what: str) -> None:
    room, event = await submittable(one, alice, peer, what)
    joining = PeerRoom(peer, get_room_version("11"), room)
    right = joining.seal(event)
    event_id = joining.id_of(right)
    forged = joining.seal(event, key=SigningKey.generate(peer.key.key_id.partition(":")[2], seed=bytes(32)))
    for wrong in (
        right | {"signatures": {}},
        forged,
        right | {"content": right["content"] | {"displayname": "changed afterwards"}},
        right | {"depth": "1"},
    ):
        (await put(peer, one, what, room, event_id, wrong)).error(400, "M_INVALID_PARAM")
    (await put(peer, one, what, room, event_id + "x", right)).error(400, "M_INVALID_PARAM")
    other = await alice.create_room(preset="public_chat", room_version="11")
    (await put(peer, one, what, other, event_id, right)).error(400, "M_INVALID_PARAM")
    (await put(peer, one, what, room, event_id, right)).ok()


async def submittable(one: FederatedServer, alice: Client, peer: Peer, what: str) -> tuple[str, Any]:
    """A room, and an unsigned event that can be sent to it."""
    rule = {"join_rule": "knock" if what == "knock" else "public"}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room = await alice.create_room(room_version="11", initial_state=state)
    if what == "leave":
        await join(peer, one.server_name, room)
    made = (await make(peer, one, what, room, mallory(peer), ver=ALL)).ok()
    return room, made["event"] | {"origin_server_ts": 1}


async def put(peer: Peer, one: FederatedServer, what: str, room: str, event_id: str, event: Any) -> Any:
    version = "v1" if what == "knock" else "v2"
    return await peer.request(
        "PUT", one.server_name, federation(version, f"send_{what}", room, event_id), event
    )


async def test_a_knock_is_told_what_the_room_is(one: FederatedServer, alice: Client, peer: Peer) -> None:
    room, event = await submittable(one, alice, peer, "knock")
    joining = PeerRoom(peer, get_room_version("11"), room)
    right = joining.seal(event)
    told = (await put(peer, one, "knock", room, joining.id_of(right), right)).ok()["knock_room_state"]
    assert {"m.room.create", "m.room.join_rules"} <= {pdu["type"] for pdu in told}
    assert all("signatures" in pdu for pdu in told)
    assert await membership(alice, room, mallory(peer)) == "knock"


async def test_a_server_that_the_room_bans_gets_nothing(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    """Server-server API, "Server Access Control Lists (ACLs)"."""
    room = await alice.create_room(preset="public_chat", room_version="11")
    made = (await make(peer, one, "join", room, mallory(peer), ver=ALL)).ok()
    content = {"allow": ["*"], "deny": ["localhost"]}
    await one.running.server.database.write(set_acl, room, alice.user_id, one, content)
    for what in ("join", "leave", "knock"):
        (await make(peer, one, what, room, mallory(peer), ver=ALL)).error(403, "M_FORBIDDEN")
    joining = PeerRoom(peer, get_room_version("11"), room)
    event = joining.seal(made["event"])
    for what in ("join", "leave", "knock"):
        (await put(peer, one, what, room, joining.id_of(event), event)).error(403, "M_FORBIDDEN")


def set_acl(tx: WriteTransaction, room: Any, user_id: Any, one: FederatedServer, content: Any) -> None:
    """Set an access control list that a client of a server on the same host could not set."""
    appender = Appender.lock(tx, room, Signer(one.server_name, one.key), now_ts=2_000_000_000_000)
    appender.append(Draft(user_id, "m.room.server_acl", content, state_key=""))
    appender.publish()


async def test_a_room_that_was_left_is_no_longer_spoken_for(
    one: FederatedServer, alice: Client, peer: Peer
) -> None:
    room = await alice.create_room(preset="public_chat", room_version="11")
    await join(peer, one.server_name, room)
    await alice.leave(room)
    for what in ("join", "leave", "knock"):
        (await make(peer, one, what, room, mallory(peer), ver=ALL)).error(404, "M_NOT_FOUND")
    assert (await alice.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}
