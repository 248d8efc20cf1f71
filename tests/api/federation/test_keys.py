"""Server-server API, `keys_server.yaml`, `keys_query.yaml` and `version.yaml`, of a running server."""

import hashlib
from pathlib import Path

from homeserver import __version__
from homeserver.config.sections import OldSigningKey
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.core.server_keys import VerifyKey, read_response
from homeserver.core.signing import SigningKey
from tests.api.server import SERVER_NAME, Client, TestServer, running_server
from tests.openapi import Specification

US = ServerName(SERVER_NAME)
KEY = SigningKey.generate("test", seed=hashlib.sha256(b"the key of the tests").digest())


def anybody(server: TestServer) -> Client:
    """Needs no account."""
    return Client(server.base_url, server.specification, server.pool)


async def test_our_keys(server: TestServer) -> None:
    document = (await anybody(server).request("GET", "/_matrix/key/v2/server")).ok()
    now_ts = server.clock.now_ts()
    response = read_response(document, US, now_ts=now_ts)
    assert {name: key.key for name, key in response.keys.items()} == {KEY.key_id: KEY.verify_key}
    assert now_ts + 3_600_000 < response.valid_until_ts
    assert document["old_verify_keys"] == {}


async def test_our_keys_of_the_past(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    old = OldSigningKey(key_id="ed25519:past", key=encode_base64(bytes(32)), expired_ts=1_600_000_000_000)
    async with running_server(database_url, tmp_path, specification, old_signing_keys=(old,)) as server:
        document = (await anybody(server).request("GET", "/_matrix/key/v2/server")).ok()
        response = read_response(document, US, now_ts=server.clock.now_ts())
        assert response.keys["ed25519:past"] == VerifyKey(bytes(32), 1_600_000_000_000, is_old=True)


async def test_we_witness_our_own(server: TestServer) -> None:
    somebody = anybody(server)
    one = (await somebody.request("GET", f"/_matrix/key/v2/query/{US}")).ok()
    many = (
        await somebody.request(
            "POST",
            "/_matrix/key/v2/query",
            {"server_keys": {US: {KEY.key_id: {"minimum_valid_until_ts": 5}, "ed25519:x": {}}}},
        )
    ).ok()
    for answer in (one, many):
        (document,) = answer["server_keys"]
        assert read_response(document, US, now_ts=server.clock.now_ts()).keys.keys() == {KEY.key_id}


async def test_of_who_cannot_be_reached_nothing_is_said(server: TestServer) -> None:
    """Among them those in private networks."""
    somebody = anybody(server)
    one = await somebody.request(
        "GET", "/_matrix/key/v2/query/127.0.0.1:1", query={"minimum_valid_until_ts": 7}
    )
    assert one.ok() == {"server_keys": []}
    many = await somebody.request(
        "POST", "/_matrix/key/v2/query", {"server_keys": {"10.0.0.1:8448": {}, "[::1]:8448": {}}}
    )
    assert many.ok() == {"server_keys": []}
    assert (await somebody.request("POST", "/_matrix/key/v2/query", {"server_keys": {}})).ok() == {
        "server_keys": []
    }


async def test_queries_that_are_malformed(server: TestServer) -> None:
    somebody = anybody(server)
    bodies: list[JsonObject] = [
        {},
        {"server_keys": []},
        {"server_keys": {US: []}},
        {"server_keys": {"a b": {}}},
    ]
    for body in bodies:
        (await somebody.request("POST", "/_matrix/key/v2/query", body)).error(400, "M_BAD_JSON")
    (await somebody.request("GET", "/_matrix/key/v2/query/a%20b")).error(400, "M_INVALID_PARAM")
    answer = await somebody.request(
        "GET", f"/_matrix/key/v2/query/{US}", query={"minimum_valid_until_ts": "x"}
    )
    answer.error(400, "M_INVALID_PARAM")


async def test_what_runs_here(server: TestServer) -> None:
    answer = await anybody(server).request("GET", "/_matrix/federation/v1/version")
    assert answer.ok() == {"server": {"name": "homeserver", "version": __version__}}
