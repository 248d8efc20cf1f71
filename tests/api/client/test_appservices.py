"""Application services as clients. Spec: application service API, "Client-Server API Extensions"."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections import Bucket, RateLimits, Registration
from homeserver.core.identifiers import UserID
from homeserver.storage import users
from tests.api.server import PASSWORD, SHARED_SECRET, Client, TestServer, path_of, room_path, running_server
from tests.appservices import ghost, registration, registration_file
from tests.key_holders import DEVICE_SIGNING, Identity, device_of
from tests.openapi import Specification

WHOAMI = path_of("account", "whoami")
REGISTER = path_of("register")
LOGIN = path_of("login")
TYPE = "m.login.application_service"
BOB = "@irc_bob:test.example"


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A server with two bridges. Nobody else may register."""
    people = {"regex": "@.*", "exclusive": False}
    files = (
        registration_file(tmp_path, registration()),
        registration_file(
            tmp_path,
            registration("slack", rate_limited=False, namespaces={"users": [people], "aliases": []}),
        ),
    )
    async with running_server(
        database_url,
        tmp_path,
        specification,
        appservices=files,
        registration=Registration(enabled=False, shared_secret=SHARED_SECRET),
    ) as running:
        yield running


async def registered(server: TestServer, name: str = "irc_bob", id: str = "irc") -> Client:
    """A user of a bridge, by its token alone."""
    made = (
        await ghost(server, id).post(REGISTER, {"type": TYPE, "username": name, "inhibit_login": True})
    ).ok()
    assert made == {"user_id": f"@{name}:test.example", "home_server": "test.example"}
    return ghost(server, id, user_id=made["user_id"])


async def with_device(server: TestServer, device_id: str = "GHOST") -> Client:
    """A user of the bridge with a device, made as the specification has it."""
    user = await registered(server)
    answer = await user.put(path_of("devices", device_id), {"display_name": "Bridge"})
    assert answer.status == 201
    return ghost(server, user_id=user.user_id, device_id=device_id)


# Identity assertion


async def test_the_sender_is_there_without_being_registered(server: TestServer) -> None:
    assert (await ghost(server).get(WHOAMI)).ok() == {"user_id": "@ircbot:test.example"}
    (await ghost(server).post(REGISTER, {"type": TYPE, "username": "ircbot"})).error(400, "M_USER_IN_USE")


async def test_it_acts_as_its_users(server: TestServer) -> None:
    bob = await registered(server)
    assert (await bob.get(WHOAMI)).ok() == {"user_id": BOB}
    room = await bob.create_room(preset="public_chat")
    alice = await server.user("alice")
    await alice.join(room)
    event_id = await bob.send(room, "hello", txn_id="t")
    assert await bob.send(room, "hello", txn_id="t") == event_id
    (event,) = [
        each
        for each in (await alice.sync())["rooms"]["join"][room]["timeline"]["events"]
        if each["type"] == "m.room.message"
    ]
    assert (event["sender"], event["event_id"]) == (BOB, event_id)
    assert (await bob.sync())["rooms"]["join"].keys() == {room}


@pytest.mark.parametrize(
    ("user_id", "status", "errcode"),
    [
        ("@alice:test.example", 403, "M_FORBIDDEN"),
        ("@irc_nobody:test.example", 403, "M_FORBIDDEN"),
        ("@irc_bob:elsewhere.example", 403, "M_FORBIDDEN"),
        ("@slackbot:test.example", 403, "M_FORBIDDEN"),
        ("irc_bob", 400, "M_INVALID_PARAM"),
    ],
)
async def test_it_acts_as_nobody_else(server: TestServer, user_id: str, status: int, errcode: str) -> None:
    await server.user("alice")
    (await ghost(server, user_id=user_id).request("GET", WHOAMI, check=status != 400)).error(status, errcode)


async def test_who_is_no_application_service_names_nobody(server: TestServer) -> None:
    alice = await server.user("alice")
    await registered(server)
    answer = await alice.get(WHOAMI, user_id=BOB, device_id="X")
    assert answer.ok()["user_id"] == alice.user_id
    (await alice.request("GET", WHOAMI, token="irc")).error(401, "M_UNKNOWN_TOKEN")


async def test_closed_and_locked_accounts_are_closed_to_it_too(server: TestServer) -> None:
    bob = await registered(server)
    await server.restrict(bob, "is_locked")
    (await bob.get(WHOAMI)).error(401, "M_USER_LOCKED")
    (await bob.post(path_of("logout"))).ok()
    eve = await registered(server, "irc_eve")
    await server.server.services.accounts.deactivate(UserID(eve.user_id), erase=False)
    (await eve.get(WHOAMI)).error(403, "M_USER_DEACTIVATED")
    (await ghost(server).post(LOGIN, login_of("irc_eve"))).error(403, "M_USER_DEACTIVATED")


async def test_suspension_holds_for_it_too(server: TestServer) -> None:
    bob = await registered(server)
    room = await bob.create_room()
    await server.restrict(bob, "is_suspended")
    body = {"msgtype": "m.text", "body": "x"}
    (await bob.put(room_path(room, "send", "m.room.message", "1"), body)).error(403, "M_USER_SUSPENDED")


async def test_a_namespace_with_people_in_it_gives_no_rights_over_the_server(server: TestServer) -> None:
    admin = await server.user("admin", admin=True)
    whois = path_of("admin", "whois", admin.user_id)
    (await admin.get(whois)).ok()
    slack = ghost(server, "slack", user_id=admin.user_id)
    assert (await slack.get(WHOAMI)).ok()["user_id"] == admin.user_id
    other = await server.user("other")
    (await slack.get(path_of("admin", "whois", other.user_id))).error(403, "M_FORBIDDEN")
    # What the operator has given to its own account is its own.
    sender = UserID("@slackbot:test.example")
    await server.server.database.write(users.set_admin, sender, is_admin=True)
    (await ghost(server, "slack").get(path_of("admin", "whois", other.user_id))).ok()


async def test_members_of_rooms_of_its_users(server: TestServer) -> None:
    """Client-server API, `GET /rooms/{roomId}/joined_members`: "any of the AS's users must be in the room"."""
    bob = await registered(server)
    room = await bob.create_room()
    path = room_path(room, "joined_members")
    assert (await ghost(server).get(path)).ok()["joined"].keys() == {BOB}
    alice = await server.user("alice")
    (await alice.get(path)).error(403, "M_FORBIDDEN")
    theirs = await alice.create_room()
    (await ghost(server).get(room_path(theirs, "joined_members"))).error(403, "M_FORBIDDEN")
    (await ghost(server).get(room_path("!none:test.example", "joined_members"))).error(403, "M_FORBIDDEN")


# Devices


async def test_it_acts_on_a_device(server: TestServer) -> None:
    bob = await with_device(server)
    assert (await bob.get(WHOAMI)).ok() == {"user_id": BOB, "device_id": "GHOST"}
    older = {"user_id": BOB, "org.matrix.msc3202.device_id": "GHOST"}
    assert (await ghost(server).get(WHOAMI, **older)).ok()["device_id"] == "GHOST"
    (await ghost(server, user_id=BOB, device_id="NONE").get(WHOAMI)).error(400, "M_UNKNOWN_DEVICE")
    # Without a user it must be one of the sender's.
    (await ghost(server, device_id="GHOST").get(WHOAMI)).error(400, "M_UNKNOWN_DEVICE")
    assert (await ghost(server).put(path_of("devices", "BOT"))).status == 201
    assert (await ghost(server, device_id="BOT").get(WHOAMI)).ok() == {
        "user_id": "@ircbot:test.example",
        "device_id": "BOT",
    }


async def test_when_the_device_was_seen_is_noted(server: TestServer) -> None:
    """What nobody has used for long is tidied away: a bridge's device must not look so."""
    bob = await with_device(server)
    (await bob.get(WHOAMI)).ok()
    await server.server.database.write(
        users.departing, after="", limit=1
    )  # After what was to be written soon.
    device = (await bob.get(path_of("devices", "GHOST"))).ok()
    assert device["display_name"] == "Bridge"
    assert device["last_seen_ip"] == "127.0.0.1"
    assert device["last_seen_ts"] > 0


async def test_its_devices_go_without_further_authentication(server: TestServer) -> None:
    bob = await with_device(server)
    for device_id in ("A", "B"):
        assert (await bob.put(path_of("devices", device_id))).status == 201
    # A second time, it is only named.
    assert (await bob.put(path_of("devices", "A"), {"display_name": "again"})).status == 200
    (await bob.delete(path_of("devices", "A"))).ok()
    (await bob.post(path_of("delete_devices"), {"devices": ["B"]})).ok()
    left = (await bob.get(path_of("devices"))).ok()["devices"]
    assert [each["device_id"] for each in left] == ["GHOST"]
    # To log out is to delete the device that it acts on.
    (await bob.post(path_of("logout"))).ok()
    (await bob.get(WHOAMI)).error(400, "M_UNKNOWN_DEVICE")


async def test_a_session_of_its_user_is_no_application_service(server: TestServer) -> None:
    await registered(server)
    session = await logged_in(server, "irc_bob")
    (await session.put(path_of("devices", "NEW"))).error(404, "M_NOT_FOUND")
    challenge = await session.delete(path_of("devices", session.device_id))
    assert challenge.status == 401
    assert challenge.json["flows"]


async def test_keys_belong_to_the_device_that_it_names(server: TestServer) -> None:
    bob = await with_device(server)
    device = device_of(bob)
    upload = {"device_keys": device.keys(), "one_time_keys": device.one_time_keys("a", "b", "c")}
    answer = await ghost(server, user_id=BOB).post(path_of("keys", "upload"), upload)
    answer.error(400, "M_INVALID_PARAM")
    counts = (await bob.post(path_of("keys", "upload"), upload)).ok()["one_time_key_counts"]
    assert counts == {"signed_curve25519": 3}
    alice = await server.user("alice")
    found = (await alice.post(path_of("keys", "query"), {"device_keys": {BOB: []}})).ok()
    assert found["device_keys"][BOB].keys() == {"GHOST"}
    # A message to that device comes by a sync on it, and goes when the next one shows that it came.
    message = {"messages": {BOB: {"GHOST": {"a": 1}}}}
    (await alice.put(path_of("sendToDevice", "m.test", "1"), message)).ok()
    synced = await bob.sync()
    assert [each["content"] for each in synced["to_device"]["events"]] == [{"a": 1}]
    assert synced["device_one_time_keys_count"] == {"signed_curve25519": 3}
    assert "to_device" not in await bob.sync(synced["next_batch"])


async def test_cross_signing_keys_can_be_replaced_without_authentication(server: TestServer) -> None:
    bob = await with_device(server)
    for name in ("first", "second"):
        identity = Identity(BOB, name)
        (await bob.post(DEVICE_SIGNING, identity.upload())).ok()
        found = (await bob.post(path_of("keys", "query"), {"device_keys": {BOB: []}})).ok()
        assert found["master_keys"][BOB]["keys"] == identity.key("master")["keys"]
    # A session of the same user has to show who it is.
    session = await logged_in(server, "irc_bob")
    third = Identity(BOB, "third").upload()
    assert (await session.request("POST", DEVICE_SIGNING, third, check=False)).status == 401


# Registration and login


async def test_it_registers_users_with_a_session(server: TestServer) -> None:
    made = (
        await ghost(server).post(
            REGISTER,
            {"type": TYPE, "username": "IRC_Bob", "device_id": "D", "initial_device_display_name": "Bridge"},
        )
    ).ok()
    assert (made["user_id"], made["device_id"]) == (BOB, "D")
    session = server.anonymous()
    session.access_token = made["access_token"]
    assert (await session.get(WHOAMI)).ok()["device_id"] == "D"
    (device,) = (await session.get(path_of("devices"))).ok()["devices"]
    assert device["display_name"] == "Bridge"


@pytest.mark.parametrize(
    ("token", "body", "status", "errcode"),
    [
        (None, {"username": "irc_bob"}, 401, "M_MISSING_TOKEN"),
        ("nonsense", {"username": "irc_bob"}, 401, "M_UNKNOWN_TOKEN"),
        ("irc-token", {}, 400, "M_MISSING_PARAM"),
        ("irc-token", {"username": "bob"}, 400, "M_EXCLUSIVE"),
        ("irc-token", {"username": "slackbot"}, 400, "M_EXCLUSIVE"),
        ("irc-token", {"username": "irc_b b"}, 400, "M_INVALID_USERNAME"),
        ("slack-token", {"username": "irc_bob"}, 400, "M_EXCLUSIVE"),
    ],
)
async def test_what_it_cannot_register(
    server: TestServer, token: str | None, body: dict[str, Any], status: int, errcode: str
) -> None:
    client = server.anonymous()
    client.access_token = token
    (await client.post(REGISTER, {"type": TYPE, **body})).error(status, errcode)


def login_of(name: str, **more: str) -> dict[str, Any]:
    return {"type": TYPE, "identifier": {"type": "m.id.user", "user": name}, **more}


async def logged_in(server: TestServer, name: str) -> Client:
    session = (await ghost(server).post(LOGIN, login_of(name))).ok()
    client = server.anonymous()
    client.user_id, client.device_id = session["user_id"], session["device_id"]
    client.access_token = session["access_token"]
    return client


async def test_it_logs_its_users_in(server: TestServer) -> None:
    await registered(server)
    for name in ("irc_bob", BOB):
        session = (await ghost(server).post(LOGIN, login_of(name, device_id="D"))).ok()
        assert (session["user_id"], session["device_id"]) == (BOB, "D")
        client = server.anonymous()
        client.access_token = session["access_token"]
        assert (await client.get(WHOAMI)).ok()["user_id"] == BOB
    flows = (await server.anonymous().get(LOGIN)).ok()["flows"]
    assert {"type": TYPE} in flows
    # People whom a namespace covers, as bridges do that speak in the name of their owner.
    await server.user("alice")
    assert (await ghost(server, "slack").post(LOGIN, login_of("alice"))).ok()["user_id"].startswith("@alice:")


@pytest.mark.parametrize(
    ("token", "name", "status", "errcode"),
    [
        (None, "irc_bob", 401, "M_MISSING_TOKEN"),
        ("nonsense", "irc_bob", 401, "M_UNKNOWN_TOKEN"),
        ("irc-token", "alice", 400, "M_EXCLUSIVE"),
        ("irc-token", "irc_nobody", 403, "M_FORBIDDEN"),
        ("irc-token", "@irc_bob:elsewhere.example", 403, "M_FORBIDDEN"),
    ],
)
async def test_whom_it_cannot_log_in(
    server: TestServer, token: str | None, name: str, status: int, errcode: str
) -> None:
    await server.user("alice")
    client = server.anonymous()
    client.access_token = token
    (await client.post(LOGIN, login_of(name))).error(status, errcode)


async def test_nobody_logs_in_to_its_accounts_by_password(server: TestServer) -> None:
    await registered(server)
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": BOB}, "password": ""}
    (await server.anonymous().post(LOGIN, body)).error(403, "M_FORBIDDEN")


# Namespaces


async def test_people_cannot_take_its_names(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    file = registration_file(tmp_path, registration())
    async with running_server(database_url, tmp_path, specification, appservices=(file,)) as server:
        for name in ("irc_eve", "ircbot"):
            body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            (await server.anonymous().post(REGISTER, body)).error(400, "M_EXCLUSIVE")
            available = path_of("register", "available")
            (await server.anonymous().get(available, username=name)).error(400, "M_EXCLUSIVE")


async def test_aliases_are_its_own(server: TestServer) -> None:
    bob = await registered(server)
    alice = await server.user("alice")
    room, hers = await bob.create_room(), await alice.create_room()
    reserved = path_of("directory", "room", "#irc_room:test.example")
    free = path_of("directory", "room", "#room:test.example")
    (await alice.put(reserved, {"room_id": hers})).error(400, "M_EXCLUSIVE")
    answer = await alice.post(path_of("createRoom"), {"room_alias_name": "irc_room"})
    answer.error(400, "M_EXCLUSIVE")
    (await bob.put(free, {"room_id": room})).error(400, "M_EXCLUSIVE")
    (await bob.post(path_of("createRoom"), {"room_alias_name": "room"})).error(400, "M_EXCLUSIVE")
    (await bob.put(reserved, {"room_id": room})).ok()
    (await alice.delete(reserved)).error(400, "M_EXCLUSIVE")
    (await alice.put(free, {"room_id": hers})).ok()
    (await bob.delete(free)).error(400, "M_EXCLUSIVE")
    # All of its users may do with its aliases what they like.
    (await ghost(server).delete(reserved)).ok()
    (await bob.get(reserved)).error(404, "M_NOT_FOUND")
    await bob.create_room(room_alias_name="irc_room")


# Limits

NARROW = Bucket(per_second=0.001, burst=3)


async def test_rate_limits_hold_for_its_users_unless_it_says_otherwise(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    files = (
        registration_file(tmp_path, registration()),
        registration_file(tmp_path, registration("slack", rate_limited=False)),
    )
    async with running_server(
        database_url,
        tmp_path,
        specification,
        appservices=files,
        rate_limits=RateLimits(login=NARROW, registration=NARROW, updates=NARROW),
    ) as server:
        # To register and to log in users is never limited.
        for number in range(5):
            await registered(server, f"irc_{number}")
        bob = await registered(server)
        for _ in range(5):
            (await ghost(server).post(LOGIN, login_of("irc_bob", device_id="D"))).ok()
        eve = await registered(server, "slack_eve", "slack")

        async def statuses(client: Client) -> set[int]:
            """Of changing the display name again and again."""
            path = path_of("profile", client.user_id, "displayname")
            return {
                (await client.request("PUT", path, {"displayname": f"{number}"}, check=False)).status
                for number in range(5)
            }

        assert await statuses(bob) == {200, 429}
        assert await statuses(eve) == {200}
        sender = ghost(server)
        sender.user_id = "@ircbot:test.example"
        assert await statuses(sender) == {200}
