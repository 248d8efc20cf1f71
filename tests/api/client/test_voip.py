"""Client-server API, `voip.yaml`."""

import base64
import hashlib
import hmac
from pathlib import Path

from homeserver.config.sections import Turn
from tests.api.server import Client, path_of, running_server
from tests.openapi import Specification

URIS = ("turn:turn.example.org:3478?transport=udp", "turns:turn.example.org")
TURN = path_of("voip", "turnServer")


async def test_without_turn_servers_there_are_none(alice: Client, guest: Client) -> None:
    for client in (alice, guest):
        (await client.get(TURN)).error(404, "M_NOT_FOUND")


async def test_a_login_from_a_shared_secret(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    turn = Turn(uris=URIS, shared_secret="hush", ttl_s=600)
    async with running_server(database_url, tmp_path, specification, turn=turn) as server:
        alice, guest = await server.user("alice"), await server.guest()
        for client in (alice, guest):
            before_s = server.clock.now_ts() // 1000
            login = (await client.get(TURN)).ok()
            expires, _, user_id = login["username"].partition(":")
            assert user_id == client.user_id
            assert before_s + 600 <= int(expires) <= server.clock.now_ts() // 1000 + 600
            mac = hmac.new(b"hush", login["username"].encode(), hashlib.sha1).digest()
            assert base64.b64decode(login["password"]) == mac
            assert (login["uris"], login["ttl"]) == (list(URIS), 600)


async def test_a_fixed_login_and_no_guests(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    turn = Turn(uris=URIS, username="calls", password="ring", allow_guests=False)
    async with running_server(database_url, tmp_path, specification, turn=turn) as server:
        alice, guest = await server.user("alice"), await server.guest()
        login = {"username": "calls", "password": "ring", "uris": list(URIS), "ttl": 86_400}
        assert (await alice.get(TURN)).ok() == login
        (await guest.get(TURN)).error(403, "M_GUEST_ACCESS_FORBIDDEN")
