"""What clients in the field send, beyond the letter of the specification and its newest version."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.server import PASSWORD, Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification

R0 = "/_matrix/client/r0"
V3 = "/_matrix/client/v3"

UNSTABLE = (
    "GET /_matrix/client/unstable/org.matrix.msc2697.v2/dehydrated_device",
    "GET /_matrix/client/unstable/org.matrix.msc2965/auth_issuer",
    "GET /_matrix/client/unstable/im.nheko.summary/summary/{room}",
    "GET /_matrix/client/v3/no/such/endpoint",
    "POST /_matrix/client/unstable/org.matrix.msc3575/sync",
    "GET /_matrix/client/r0.6.1/sync",
    "GET /_matrix",
    "GET /",
)
"""What clients try in order to find out whether a server has it."""


async def test_a_client_of_version_r0(server: TestServer) -> None:
    client = server.anonymous()
    account = {"username": "old", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    made = (await client.post(f"{R0}/register", account)).ok()
    assert (await client.get(f"{R0}/login")).ok()["flows"]
    login = {"type": "m.login.password", "user": "old", "password": PASSWORD}
    # (The fields `user`, `medium` and `address` have been replaced by `identifier` long ago.)
    client.access_token = (await client.request("POST", f"{R0}/login", login, check=False)).ok()[
        "access_token"
    ]
    room = (await client.post(f"{R0}/createRoom", {"name": "Old times"})).ok()["room_id"]
    path = f"{R0}/rooms/{quote(room)}"
    message = {"msgtype": "m.text", "body": "hello"}
    event_id = (await client.put(f"{path}/send/m.room.message/1", message)).ok()["event_id"]
    synced = (await client.get(f"{R0}/sync", timeout=0)).ok()["rooms"]["join"][room]
    assert synced["timeline"]["events"][-1]["event_id"] == event_id
    page = (await client.get(f"{path}/messages", dir="b", limit=1)).ok()
    assert page["chunk"][0]["content"] == message
    assert (await client.get(f"{path}/state/m.room.name")).ok() == {"name": "Old times"}
    (await client.post(f"{path}/receipt/m.read/{quote(event_id)}", {})).ok()
    (await client.put(f"{R0}/profile/{made['user_id']}/displayname", {"displayname": "Old"})).ok()
    (await client.post(f"{R0}/logout", {})).ok()
    (await client.get(f"{R0}/sync")).error(401, "M_UNKNOWN_TOKEN")


async def test_a_client_without_pages(alice: Client) -> None:
    """The endpoints for getting everything at once, and then event by event, which `/sync` has replaced."""
    room = await alice.create_room(name="The room")
    event_id = await alice.send(room, "hello")
    everything = (await alice.get(path_of("initialSync"), limit=5)).ok()
    (shown,) = everything["rooms"]
    assert (shown["room_id"], shown["membership"]) == (room, "join")
    assert shown["messages"]["chunk"][-1]["event_id"] == event_id
    one = (await alice.get(room_path(room, "initialSync"))).ok()
    assert one["messages"]["chunk"][-1]["event_id"] == event_id
    assert (await alice.get(path_of("events", event_id))).ok()["content"]["body"] == "hello"
    await alice.send(room, "more")
    news = (await alice.get(path_of("events"), timeout=0, **{"from": everything["end"]})).ok()
    assert [event["content"]["body"] for event in news["chunk"]] == ["more"]


async def test_the_token_may_stand_in_the_query(server: TestServer, alice: Client, bob: Client) -> None:
    anonymous = server.anonymous()
    token = {"access_token": str(alice.access_token)}

    async def whoami(**options: Any) -> Any:
        return (await anonymous.request("GET", path_of("account", "whoami"), **options)).ok()["user_id"]

    assert await whoami(query=token) == alice.user_id
    # The one in the header goes first.
    assert await whoami(query=token, token=bob.access_token) == bob.user_id
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {bob.access_token}"}
        assert await whoami(query=token, headers=headers) == bob.user_id
    # What is no bearer's header is not looked at.
    assert await whoami(query=token, headers={"Authorization": "Basic abc"}) == alice.user_id
    room = (await anonymous.post(path_of("createRoom"), {}, **token)).ok()["room_id"]
    path = room_path(room, "send", "m.room.message", "t")
    (await anonymous.put(path, {"body": "hello"}, **token)).ok()
    assert await alice.messages_in(room) == ["hello"]
    (await anonymous.get(path_of("account", "whoami"), access_token="")).error(401, "M_MISSING_TOKEN")


async def test_slashes_at_the_end(alice: Client) -> None:
    room = await alice.create_room(name="The room")
    path = f"{V3}/rooms/{room}/state/m.room.name"
    assert (await alice.get(path)).ok() == (await alice.get(f"{path}/")).ok() == {"name": "The room"}
    for suffix in ("", "/"):
        (await alice.put(f"{path}{suffix}", {"name": f"Named by {suffix}"})).ok()
        assert (await alice.get(path)).ok() == {"name": f"Named by {suffix}"}
    rules = (await alice.get(f"{V3}/pushrules/")).ok()
    assert (await alice.get(f"{V3}/pushrules")).ok() == rules
    assert (await alice.get(f"{V3}/pushrules/global")).ok() == rules["global"]
    assert (await alice.get(f"{V3}/sync/", timeout=0)).ok()["rooms"]["join"].keys() == {room}
    # But two are one too many, and one in the middle is an empty name.
    (await alice.get(f"{V3}/pushrules//")).error(404, "M_UNRECOGNIZED")
    (await alice.put(f"{V3}/rooms/{room}/send//t", {})).error(404, "M_UNRECOGNIZED")


async def test_identifiers_are_encoded_in_many_ways(alice: Client) -> None:
    room = await alice.create_room(room_version="11", room_alias_name="here")
    event_id = await alice.send(room, "hello")
    for safe in ("", "!$@#:/", "!@:", "$:", ":"):
        user, here = quote(alice.user_id, safe=safe), quote(room, safe=safe)
        alias = quote("#here:test.example", safe=safe.replace("#", ""))
        event = quote(event_id, safe=safe)
        for path in (
            f"{V3}/profile/{user}",
            f"{V3}/user/{user}/rooms/{here}/tags",
            f"{V3}/rooms/{here}/event/{event}",
            f"{V3}/rooms/{here}/state/m.room.member/{user}",
            f"{V3}/rooms/{here}/context/{event}",
            f"{V3}/directory/room/{alias}",
            f"{V3}/presence/{user}/status",
        ):
            (await alice.get(path)).ok()
        assert (await alice.post(f"{V3}/join/{alias}")).ok() == {"room_id": room}
        (await alice.put(f"{V3}/rooms/{here}/typing/{user}", {"typing": False})).ok()
        (await alice.post(f"{V3}/rooms/{here}/receipt/m.read/{event}")).ok()
    # Encoded twice is another name.
    (await alice.get(f"{V3}/profile/{quote(quote(alice.user_id))}")).error(400, "M_INVALID_PARAM")


async def test_bodies_of_posts_may_be_empty(server: TestServer, alice: Client, bob: Client) -> None:
    """With and without a type; and of JSON nobody asks what type it says to have."""
    room = await alice.create_room(preset="public_chat")
    event_id = await alice.send(room, "hello")
    for headers in (
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-8"},
    ):
        bodies: tuple[object, ...] = (None, b"", {})
        for body in bodies:
            for path in (
                path_of("join", room),
                room_path(room, "receipt", "m.read", event_id),
                room_path(room, "read_markers"),
                path_of("user", bob.user_id, "filter"),
                room_path(room, "leave"),
                room_path(room, "join"),
                room_path(room, "leave"),
                room_path(room, "forget"),
            ):
                (await bob.request("POST", path, body, headers=headers)).ok()
        message = json.dumps({"body": str(headers)}).encode()
        path = room_path(room, "send", "m.room.message", str(headers))
        (await alice.request("PUT", path, message, headers=headers)).ok()
    (await bob.request("POST", path_of("createRoom"))).ok()
    (await bob.request("POST", path_of("publicRooms"))).ok()
    (await bob.request("POST", path_of("logout"))).ok()
    phone = await server.device(alice)
    (await phone.request("POST", path_of("logout", "all"), b"")).ok()
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")


async def test_what_nobody_has_asked_for_is_passed_over(alice: Client) -> None:
    room = (await alice.post(path_of("createRoom"), {"org.example.more": 1}, user_id="@a:b")).ok()["room_id"]
    more = {"org.example.more": {"deep": [1]}}
    (await alice.put(room_path(room, "typing", alice.user_id), {"typing": True, **more})).ok()
    (await alice.post(room_path(room, "read_markers"), more)).ok()
    (await alice.put(path_of("presence", alice.user_id, "status"), {"presence": "online", **more})).ok()
    query = {"org.example.more": "1", "timeout": "0", "_": "123"}
    assert room in (await alice.request("GET", path_of("sync"), query=query)).ok()["rooms"]["join"]


@pytest.mark.parametrize("asked", UNSTABLE)
async def test_what_is_not_there_says_so(server: TestServer, asked: str) -> None:
    """Which clients understand: "This is expected to be returned with a 404 if the endpoint is not implemented"."""
    method, path = asked.split(" ")
    path = path.replace("{room}", "!room:test.example")
    answer = await server.anonymous().request(method, path, None if method == "GET" else {"a": 1})
    answer.error(404, "M_UNRECOGNIZED")


@pytest.mark.parametrize("name", ["test.example:8448", "localhost", "192.0.2.1:1", "[2001:db8::1]:8448"])
async def test_server_names_of_all_forms(
    database_url: str, tmp_path: Path, specification: Specification | None, name: str
) -> None:
    """Appendices, "Server Name": users, rooms, aliases and events of such a server are found by their names."""
    async with running_server(database_url, tmp_path, specification, server_name=name) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        assert alice.user_id == f"@alice:{name}"
        for login in ("alice", alice.user_id):
            identifier = {"type": "m.id.user", "user": login}
            body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
            assert (await server.anonymous().post(path_of("login"), body)).ok()["user_id"] == alice.user_id
        for version in ("1", "11", "12"):
            alias = f"#v{version}:{name}"
            room = await alice.create_room(
                room_version=version, room_alias_name=f"v{version}", preset="public_chat"
            )
            assert room.endswith(f":{name}") == (version != "12")
            found = (await bob.get(path_of("directory", "room", alias))).ok()
            assert found == {"room_id": room, "servers": [name]}
            (await bob.post(path_of("join", alias))).ok()
            event_id = await bob.send(room, "hello")
            assert event_id.endswith(f":{name}") == (version == "1")
            event = (await alice.get(room_path(room, "event", event_id))).ok()
            assert event["sender"] == bob.user_id
            assert (await alice.get(f"{V3}/rooms/{room}/event/{event_id}")).ok()["event_id"] == event_id
            assert (await alice.get(f"{V3}/profile/{bob.user_id}")).ok()["displayname"] == "bob"
            assert bob.user_id in (await alice.get(room_path(room, "joined_members"))).ok()["joined"]
            await bob.leave(room)
