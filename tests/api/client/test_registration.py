"""Client-server API, `registration.yaml`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.config.sections import Registration
from tests.api.server import Client, TestServer, path_of, running_server
from tests.databases import Databases
from tests.openapi import Specification

REGISTER = "/_matrix/client/v3/register"
AVAILABLE = "/_matrix/client/v3/register/available"
DUMMY = {"type": "m.login.dummy"}


def wanting(username: str | None = "alice", **more: object) -> dict[str, object]:
    body: dict[str, object] = {"password": "a password", **more}
    return body if username is None else {"username": username, **body}


@pytest.fixture
async def closed(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Client]:
    url = databases.sqlite(tmp_path)
    policy = Registration(enabled=False)
    async with running_server(url, tmp_path, specification, registration=policy) as server:
        yield server.anonymous()


@pytest.fixture
async def admitting(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    url = databases.sqlite(tmp_path)
    policy = Registration(enabled=True, allow_guests=True)
    async with running_server(url, tmp_path, specification, registration=policy) as server:
        yield server


async def test_first_comes_a_challenge_then_an_account(server: TestServer) -> None:
    client = server.anonymous()
    asked = await client.post(REGISTER, wanting(device_id="D", initial_device_display_name="Phone"))
    assert asked.status == 401
    assert asked.json.keys() == {"flows", "params", "session"}
    assert asked.json["flows"] == [{"stages": ["m.login.dummy"]}]
    auth = {**DUMMY, "session": asked.json["session"]}
    made = (
        await client.post(REGISTER, wanting(device_id="D", initial_device_display_name="Phone", auth=auth))
    ).ok()
    assert made["user_id"] == "@alice:test.example"
    assert made["home_server"] == "test.example"
    assert made["device_id"] == "D"
    client.access_token = made["access_token"]
    assert (await client.get(path_of("devices", "D"))).ok()["display_name"] == "Phone"
    name = await client.get(path_of("profile", made["user_id"], "displayname"))
    assert name.ok() == {"displayname": "alice"}


async def test_no_account_without_auth(server: TestServer) -> None:
    assert (await server.anonymous().post(REGISTER, wanting())).status == 401
    assert (await server.anonymous().post(REGISTER, {})).status == 401
    assert (await server.anonymous().get(AVAILABLE, username="alice")).ok() == {"available": True}


async def test_the_stage_may_come_with_the_first_request(server: TestServer) -> None:
    made = (await server.anonymous().post(REGISTER, wanting("Alice-UPPER", auth=DUMMY))).ok()
    assert made["user_id"] == "@alice-upper:test.example"


async def test_a_failed_stage_says_so(server: TestServer) -> None:
    answer = await server.anonymous().post(REGISTER, wanting(auth={"type": "m.login.password"}))
    assert answer.error(401, "M_FORBIDDEN")["flows"] == [{"stages": ["m.login.dummy"]}]
    assert answer.json["session"]


async def test_a_login_can_be_left_out(server: TestServer) -> None:
    made = (await server.anonymous().post(REGISTER, wanting(auth=DUMMY, inhibit_login=True))).ok()
    assert made == {"user_id": "@alice:test.example", "home_server": "test.example"}


async def test_refresh_tokens_are_for_who_wants_them(server: TestServer) -> None:
    made = (await server.anonymous().post(REGISTER, wanting(auth=DUMMY, refresh_token=True))).ok()
    assert made["refresh_token"]
    assert made["expires_in_ms"] > 0


async def test_null_is_as_good_as_nothing(server: TestServer) -> None:
    body = wanting(
        auth=DUMMY, device_id=None, initial_device_display_name=None, inhibit_login=None, refresh_token=None
    )
    (await server.anonymous().request("POST", REGISTER, body, check=False)).ok()


@pytest.mark.parametrize("auth", [None, DUMMY])
@pytest.mark.parametrize(
    ("username", "errcode"),
    [
        ("alice", "M_USER_IN_USE"),
        ("ALICE", "M_USER_IN_USE"),
        *((f"user-{char}-x", "M_INVALID_USERNAME") for char in "!\":?\\@[]{|}£é\n'"),
        ("x" * 250, "M_INVALID_USERNAME"),
        ("", "M_INVALID_USERNAME"),
    ],
)
async def test_names_that_cannot_be_had(
    alice: Client, server: TestServer, username: str, errcode: str, auth: object
) -> None:
    body = wanting(username) if auth is None else wanting(username, auth=auth)
    (await server.anonymous().post(REGISTER, body)).error(400, errcode)
    (await server.anonymous().get(AVAILABLE, username=username)).error(400, errcode)


@pytest.mark.parametrize("char", "q3._=-/+")
async def test_characters_that_names_may_have(server: TestServer, char: str) -> None:
    made = (await server.anonymous().post(REGISTER, wanting(f"user{char}", auth=DUMMY))).ok()
    assert made["user_id"] == f"@user{char}:test.example"


async def test_what_else_is_refused(server: TestServer) -> None:
    client = server.anonymous()
    (await client.post(REGISTER, {"username": "alice", "auth": DUMMY})).error(400, "M_MISSING_PARAM")
    (await client.post(REGISTER, wanting(password="", auth=DUMMY))).error(400, "M_WEAK_PASSWORD")
    (await client.post(REGISTER, wanting(password="x" * 2000, auth=DUMMY))).error(400, "M_WEAK_PASSWORD")
    (await client.request("POST", REGISTER, b'"text"')).error(400, "M_BAD_JSON")
    (await client.request("POST", REGISTER, {"username": 5})).error(400, "M_BAD_JSON")
    (await client.post(REGISTER, wanting(), kind="king")).error(400, "M_INVALID_PARAM")
    (await client.get(AVAILABLE)).error(400, "M_MISSING_PARAM")
    (await client.request("POST", REGISTER, b"x" * 70_000)).error(413, "M_TOO_LARGE")


async def test_closed_registration(closed: Client) -> None:
    (await closed.post(REGISTER, wanting())).error(403, "M_FORBIDDEN")
    (await closed.post(REGISTER, {}, kind="guest")).error(403, "M_FORBIDDEN")
    (await closed.request("GET", AVAILABLE, query={"username": "alice"})).error(403, "M_FORBIDDEN")


async def test_guests(admitting: TestServer) -> None:
    guest = admitting.anonymous()
    body = {"username": "wanted", "device_id": "WANTED", "initial_device_display_name": "Browser"}
    made = (await guest.post(REGISTER, body, kind="guest")).ok()
    assert made["user_id"] != "@wanted:test.example"
    assert made["device_id"] != "WANTED"
    guest.access_token = made["access_token"]
    assert (await guest.get(path_of("account", "whoami"))).ok()["is_guest"] is True
    (device,) = (await guest.get(path_of("devices"))).ok()["devices"]
    assert device["display_name"] == "Browser"
    for method, path in (
        ("POST", path_of("login", "get_token", version="v1")),
        ("DELETE", path_of("devices", "D")),
        ("POST", path_of("delete_devices")),
    ):
        (await guest.request(method, path, {})).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    localpart = made["user_id"][1:].partition(":")[0]
    upgrade = wanting(localpart, guest_access_token=guest.access_token, auth=DUMMY)
    upgraded = (await admitting.anonymous().post(REGISTER, upgrade)).ok()
    assert upgraded["user_id"] == made["user_id"]
    guest.access_token = upgraded["access_token"]
    assert "is_guest" not in (await guest.get(path_of("account", "whoami"))).ok()
