"""Requests that are not what they claim: server-server API, "Request Authentication" and "Retrieving server keys"."""

import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import ResponseNeverReceived

from homeserver.core.signing import sign_json
from homeserver.services import server_keys
from tests.api.server import Answer
from tests.federation.harness import FederatedServer, Servers, signing_key, until
from tests.federation.peer import Endless, Peer, Reply, Silence, federation

STRANGER_KEY = signing_key("peer", seed="somebody else")
"""It has the ID of the peer's key."""

KEYS = "/_matrix/key/v2/server"


@pytest.fixture
async def server(servers: Servers) -> FederatedServer:
    return await servers.start()


def transaction(peer: Peer) -> dict[str, Any]:
    return {"origin": peer.server_name, "origin_server_ts": 1, "pdus": [], "edus": []}


async def attempt(peer: Peer, server: FederatedServer, **options: Any) -> Answer:
    """A harmless transaction."""
    path = federation("v1", "send", "t")
    return await peer.request("PUT", server.server_name, path, transaction(peer), **options)


def header(peer: Peer, server: FederatedServer, **changes: Any) -> str:
    """The authorization of that transaction, with changes."""
    changes = {
        "method": "PUT",
        "destination": server.server_name,
        "uri": federation("v1", "send", "t"),
        "content": transaction(peer),
        **changes,
    }
    return peer.authorization(**changes)


async def test_a_signed_request_is_heard(server: FederatedServer, peer: Peer) -> None:
    assert (await attempt(peer, server)).ok() == {"pdus": {}}


LIES: dict[str, Callable[[Peer, FederatedServer], str]] = {
    "nothing": lambda _, __: "",
    "another scheme": lambda _, __: "Bearer abc",
    "no parameters": lambda _, __: "X-Matrix",
    "nonsense": lambda _, __: 'X-Matrix origin="localhost',
    "no signature": lambda peer, server: header(peer, server).partition(",sig=")[0],
    "an empty signature": lambda peer, server: header(peer, server).partition(",sig=")[0] + ',sig=""',
    "another key": lambda peer, server: header(peer, server, key=STRANGER_KEY),
    "another method": lambda peer, server: header(peer, server, method="POST"),
    "another path": lambda peer, server: header(peer, server, uri=federation("v1", "send", "u")),
    "a query": lambda peer, server: header(peer, server, uri=federation("v1", "send", "t") + "?a=b"),
    "another body": lambda peer, server: header(peer, server, content={"origin": "x"}),
    "no body": lambda peer, server: header(peer, server, content=None),
    "another destination": lambda peer, server: header(peer, server, destination="elsewhere.example"),
    "our own name": lambda peer, server: header(peer, server, origin=server.server_name),
    "a name that is none": lambda peer, server: header(peer, server, origin="no server"),
    "a key that is none": lambda peer, server: header(peer, server).replace('key="ed25519:', 'key="rot13:'),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_signed_by_who_it_says_is_refused(
    server: FederatedServer, peer: Peer, lie: str
) -> None:
    headers = None if lie != "nothing" else {"Authorization": "none"}
    answer = await attempt(peer, server, authorization=LIES[lie](peer, server), headers=headers)
    assert answer.status == 401, answer
    assert answer.json["errcode"] in ("M_UNAUTHORIZED", "M_FORBIDDEN")
    (await attempt(peer, server)).ok()


async def test_a_key_of_another_server_signs_nothing(
    server: FederatedServer, peer: Peer, servers: Servers
) -> None:
    """The peer's valid signature in the name of a server that exists and has published other keys."""
    other = await servers.start()
    answer = await attempt(peer, server, authorization=header(peer, server, origin=other.server_name))
    assert answer.status == 401


def _signed_by_another(peer: Peer) -> Any:
    keys = {name: value for name, value in peer.server_keys().items() if name != "signatures"}
    return sign_json(keys, peer.server_name, STRANGER_KEY)


KEY_LIES: dict[str, Callable[[Peer], Any]] = {
    "not signed": lambda peer: {**peer.server_keys(), "signatures": {}},
    "signed by another key": _signed_by_another,
    "of another server": lambda peer: peer.server_keys(server_name="elsewhere.example"),
    "changed after signing": lambda peer: {**peer.server_keys(), "valid_until_ts": 2**53 - 1},
    "expired": lambda peer: peer.server_keys(valid_until_ts=1),
    "without keys": lambda peer: peer.server_keys(verify_keys={}),
    "of a wrong shape": lambda peer: peer.server_keys(verify_keys=[]),
    "with a key that is none": lambda peer: peer.server_keys(verify_keys={peer.key.key_id: {"key": "abc"}}),
    "no JSON": lambda _: Reply(b"{"),
    "an error": lambda _: Reply({"errcode": "M_UNKNOWN", "error": "no"}, 500),
    "a redirect": lambda _: Reply({}, 302, {"Location": "https://127.0.0.1:1/"}),
    "a bomb": lambda _: Reply(gzip.compress(bytes(50_000_000), 1), 200, {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("lie", KEY_LIES)
async def test_keys_that_are_not_proper_prove_nothing(server: FederatedServer, peer: Peer, lie: str) -> None:
    peer.answer("GET", KEYS, lambda _: KEY_LIES[lie](peer))
    assert (await attempt(peer, server)).status == 401
    assert peer.heard_at(KEYS)


async def test_a_peer_that_gives_its_keys_without_end_gets_no_memory(
    server: FederatedServer, peer: Peer
) -> None:
    # At a pace that the peer can see the connection end at: without one it fills its own memory meanwhile.
    endless = Endless(b" " * 65_536, first=b"{", every_s=0.01)
    peer.answer("GET", KEYS, endless)
    assert (await attempt(peer, server)).status == 401
    assert endless.sent < 16 * 1024 * 1024

    async def is_over() -> bool:
        return endless.is_over

    await until(is_over, what="the end of the connection")


async def test_a_peer_that_gives_its_keys_drop_by_drop_gets_no_time(
    server: FederatedServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each drop comes soon, and the whole never does."""
    monkeypatch.setattr(server_keys, "SERVER_MS", 300)
    drops = Endless(b" ", first=b"{", every_s=0.02)
    peer.answer("GET", KEYS, drops)
    assert (await attempt(peer, server)).status == 401

    async def is_over() -> bool:
        return drops.is_over

    await until(is_over, what="the end of the connection")
    assert drops.sent < 1_000


async def test_a_silent_peer_holds_up_only_itself(server: FederatedServer, peer: Peer) -> None:
    peer.answer("GET", KEYS, Silence())
    attempted = Deferred.fromCoroutine(attempt(peer, server))
    await until(_has_been_asked(peer), what="the question for the keys")
    alice = await server.user("alice")
    room_id = await alice.create_room()
    await alice.send(room_id, "hello")
    assert not attempted.called
    attempted.addErrback(lambda failure: failure.trap(CancelledError, ResponseNeverReceived))
    attempted.cancel()


def _has_been_asked(peer: Peer) -> Callable[[], Awaitable[bool]]:
    async def has_been_asked() -> bool:
        return bool(peer.heard_at(KEYS))

    return has_been_asked
