"""Synapse's admin API, "Shared-Secret Registration"."""

import hashlib
import hmac
from pathlib import Path

from homeserver.config.sections import Registration
from tests.api.server import SHARED_SECRET, Client, TestServer, path_of, running_server
from tests.databases import Databases

REGISTER = "/_synapse/admin/v1/register"


async def wanting(
    client: Client, username: str, *, admin: bool = False, user_type: str | None = None, **more: object
) -> dict[str, object]:
    """As the documentation of the protocol makes the request."""
    nonce = (await client.get(REGISTER)).ok()["nonce"]
    mac = hmac.new(key=SHARED_SECRET.encode(), digestmod=hashlib.sha1)
    for part in (nonce, username, "pizza"):
        mac.update(part.encode() + b"\0")
    mac.update(b"admin" if admin else b"notadmin")
    if user_type:
        mac.update(b"\0" + user_type.encode())
    return {
        "nonce": nonce,
        "username": username,
        "password": "pizza",
        "admin": admin,
        "user_type": user_type,
        "mac": mac.hexdigest(),
        **more,
    }


async def test_accounts_are_made(server: TestServer) -> None:
    client = server.anonymous()
    body = await wanting(client, "Pepper_Roni", admin=True, user_type="bot", displayname="Pepper Roni")
    made = (await client.post(REGISTER, body)).ok()
    assert made.keys() == {"access_token", "user_id", "home_server", "device_id"}
    assert (made["user_id"], made["home_server"]) == ("@pepper_roni:test.example", "test.example")
    client.access_token = made["access_token"]
    assert (await client.get(path_of("account", "whoami"))).ok()["device_id"] == made["device_id"]
    profile = (await client.get(path_of("profile", made["user_id"]))).ok()
    assert profile["displayname"] == "Pepper Roni"
    login = {"type": "m.login.password", "user": "pepper_roni", "password": "pizza"}
    (await client.post(path_of("login"), login)).ok()


async def test_what_is_refused(server: TestServer) -> None:
    client = server.anonymous()
    await server.user("alice")
    wrong = {**await wanting(client, "bob"), "mac": "0" * 40}
    (await client.post(REGISTER, wrong)).error(403, "M_UNKNOWN")
    promoted = {**await wanting(client, "bob"), "admin": True}
    (await client.post(REGISTER, promoted)).error(403, "M_UNKNOWN")
    body = await wanting(client, "bob")
    (await client.post(REGISTER, body)).ok()
    (await client.post(REGISTER, body)).error(400, "M_UNKNOWN")
    (await client.post(REGISTER, await wanting(client, "alice"))).error(400, "M_USER_IN_USE")
    (await client.post(REGISTER, await wanting(client, "us,er"))).error(400, "M_INVALID_USERNAME")
    (await client.post(REGISTER, {"nonce": "x"})).error(400, "M_BAD_JSON")


async def test_without_a_secret_it_is_closed(databases: Databases, tmp_path: Path) -> None:
    url = databases.sqlite(tmp_path)
    async with running_server(url, tmp_path, None, registration=Registration(enabled=True)) as server:
        (await server.anonymous().get(REGISTER)).error(400, "M_UNKNOWN")
