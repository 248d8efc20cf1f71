"""Invitations by e-mail address are redeemed. Server-server API, "Third-party invites"."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from homeserver.clients import identity as identity_client
from homeserver.core.hashes import encode_base64
from homeserver.core.signing import SigningKey, sign_json
from tests.api.server import Answer, Client, room_path
from tests.federation.conftest import Two
from tests.federation.harness import Servers, until
from tests.federation.meetings import join_via, membership, section, sees
from tests.federation.peer import Peer, federation
from tests.outbound.scripted import Raw, ScriptedServer, certify, ok, scripted_server

IDENTITY = SigningKey.generate("0", seed=b"the key of the identity server!!")
OTHER = SigningKey.generate("0", seed=bytes(32))
ONBIND = "/_matrix/federation/v1/3pid/onbind"


@pytest.fixture
async def identity(servers: Servers) -> AsyncIterator[ScriptedServer]:
    """An identity server that stands by its keys."""
    certificate = certify(servers.authority, "127.0.0.1")
    async with scripted_server(certificate, lambda _: ok({"valid": True})) as scripted:
        yield scripted


def url_of(identity: ScriptedServer, target: str = "/valid") -> str:
    return f"https://127.0.0.1:{identity.port}{target}"


async def invite_by_mail(
    inviter: Client, room: str, identity: ScriptedServer, token: str = "t", **other: Any
) -> None:
    """What remains in a room of an invitation by e-mail address; `other` replaces some of it."""
    key = encode_base64(IDENTITY.verify_key)
    content = {"display_name": "b...@e...", "key_validity_url": url_of(identity), "public_key": key, **other}
    await inviter.set_state(room, "m.room.third_party_invite", content, token)


def proof(user_id: str, token: str = "t", *, key: SigningKey = IDENTITY) -> Any:
    return sign_json({"mxid": user_id, "token": token}, "id.example", key)


async def bind(invited: Client, room: str, sender: str, signed: Any) -> None:
    """The identity server tells the user's server that the address is the user's."""
    invite = {
        "medium": "email",
        "address": "bob@example.org",
        "mxid": invited.user_id,
        "room_id": room,
        "sender": sender,
        "signed": signed,
    }
    body = {"medium": "email", "address": "bob@example.org", "mxid": invited.user_id, "invites": [invite]}
    (await invited.request("PUT", ONBIND, body, token="", check=False)).ok()


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_the_inviters_server_is_asked(two: Two, identity: ScriptedServer, version: str) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(room_version=version)
    await invite_by_mail(alice, room, identity)
    await bind(bob, room, alice.user_id, proof(bob.user_id))
    await section(bob, room, "invite")
    content = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert content["third_party_invite"]["display_name"] == "b...@e..."
    await bob.join(room)
    await sees(alice, room, bob.user_id, "join")


@pytest.mark.parametrize("version", ["1", "11"])
async def test_the_inviters_server_is_asked_also_by_one_that_is_in_the_room(
    two: Two, identity: ScriptedServer, version: str
) -> None:
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.other.user("bob"),
        await two.other.user("carol"),
    )
    room = await alice.create_room(preset="public_chat", room_version=version)
    await join_via(carol, room, two.one)
    await invite_by_mail(alice, room, identity)
    await sees_state(carol, room, "m.room.third_party_invite", "t")
    await bind(bob, room, alice.user_id, proof(bob.user_id))
    await section(bob, room, "invite")
    await sees(alice, room, bob.user_id, "invite")


async def sees_state(client: Client, room: str, kind: str, key: str) -> None:
    async def is_there() -> bool:
        return (await client.get(room_path(room, "state", kind, key))).status == 200

    await until(is_there, what=f"{kind} has come")


async def test_proofs_that_are_none(two: Two, identity: ScriptedServer) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await invite_by_mail(alice, room, identity)
    proofs: list[Any] = [
        proof(bob.user_id, key=OTHER),
        proof(bob.user_id, "another token"),
        proof(alice.user_id),
        proof(bob.user_id) | {"extra": 1},
        {},
        5,
    ]
    for signed in proofs:
        await bind(bob, room, alice.user_id, signed)
        await bind(bob, room, bob.user_id, signed)
    await bind(bob, room, bob.user_id, proof(bob.user_id))
    assert await membership(alice, room, bob.user_id) is None
    assert "rooms" not in await bob.sync()
    assert identity.requests == []


async def test_a_client_brings_the_proof(two: Two, identity: ScriptedServer) -> None:
    """Client-server API, `third_party_signed` of `POST /rooms/{roomId}/join`."""
    alice, bob = await two.one.user("alice"), await two.one.user("bob")
    room = await alice.create_room()
    await invite_by_mail(alice, room, identity)
    (await join_by_proof(bob, room, alice)).ok()
    assert await membership(alice, room, bob.user_id) == "join"


async def join_by_proof(user: Client, room: str, inviter: Client, token: str = "t") -> Answer:
    signed = sign_json(
        {"mxid": user.user_id, "token": token, "sender": inviter.user_id}, "id.example", IDENTITY
    )
    return await user.post(room_path(room, "join"), {"third_party_signed": signed})


async def test_who_asks_for_an_exchange(two: Two, peer: Peer, identity: ScriptedServer) -> None:
    alice = await two.one.user("alice")
    room = await alice.create_room()
    await invite_by_mail(alice, room, identity)
    mallory = f"@mallory:{peer.server_name}"
    event = exchanged(room, alice.user_id, mallory, proof(mallory, key=OTHER))
    path = federation("v1", "exchange_third_party_invite", room)
    one = two.one.server_name
    (await peer.request("PUT", one, path, event)).error(403, "M_FORBIDDEN")
    (await peer.request("PUT", one, path, event | {"room_id": "!x:y"})).error(400, "M_INVALID_PARAM")
    (await peer.request("PUT", one, path, event | {"type": "m.room.topic"})).error(400, "M_INVALID_PARAM")
    (await peer.request("PUT", one, path, event | {"sender": mallory})).error(403, "M_FORBIDDEN")
    (await peer.request("PUT", one, path, {"content": {}})).error(400, "M_INVALID_PARAM")
    other = event | {"state_key": "@x:elsewhere.example"}
    (await peer.request("PUT", one, path, other)).error(400, "M_INVALID_PARAM")
    assert await membership(alice, room, mallory) is None


def exchanged(room: str, sender: str, user_id: str, signed: Any) -> dict[str, Any]:
    """What the user's server sends to the inviter's."""
    content = {"membership": "invite", "third_party_invite": {"display_name": "m", "signed": signed}}
    return {
        "type": "m.room.member",
        "room_id": room,
        "sender": sender,
        "state_key": user_id,
        "content": content,
    }


async def test_the_key_that_has_signed_is_asked_for(two: Two, identity: ScriptedServer) -> None:
    """Client-server API, "Third-party invites", "Server behaviour": "using the provided URL"."""
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.other.user("bob"),
        await two.one.user("carol"),
    )
    room = await alice.create_room()
    key = encode_base64(IDENTITY.verify_key)
    spelled = key.replace("+", "-").replace("/", "_")
    keys = [
        {"public_key": encode_base64(OTHER.verify_key), "key_validity_url": url_of(identity, "/other")},
        {"public_key": spelled, "key_validity_url": url_of(identity, "/ephemeral?of=us#end")},
    ]
    await invite_by_mail(alice, room, identity, **keys[0], public_keys=keys)
    await bind(bob, room, alice.user_id, proof(bob.user_id))
    await section(bob, room, "invite")
    (await join_by_proof(carol, room, alice)).ok()
    assert len(identity.requests) == 2
    for received in identity.requests:
        asked = urlsplit(received.target)
        assert (received.method, asked.path) == ("GET", "/ephemeral")
        assert parse_qs(asked.query) == {"of": ["us"], "public_key": [spelled]}


async def test_a_key_without_a_url_is_valid_for_good(two: Two, identity: ScriptedServer) -> None:
    alice, bob = await two.one.user("alice"), await two.one.user("bob")
    room = await alice.create_room()
    other = {"public_key": encode_base64(OTHER.verify_key)}
    keys = [{"public_key": encode_base64(IDENTITY.verify_key)}]
    await invite_by_mail(alice, room, identity, **other, public_keys=keys)
    (await join_by_proof(bob, room, alice)).ok()
    assert identity.requests == []


NOT_VALID: list[Any] = [{"valid": False}, {}, {"valid": 1}, {"valid": "true"}, {"valid": None}]


async def test_what_is_not_valid_is_not_redeemed(
    two: Two, peer: Peer, identity: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.one.user("bob"),
        await two.other.user("carol"),
    )
    room = await alice.create_room()
    await invite_by_mail(alice, room, identity)
    mallory = f"@mallory:{peer.server_name}"
    path = federation("v1", "exchange_third_party_invite", room)
    event = exchanged(room, alice.user_id, mallory, proof(mallory))

    async def is_refused(status: int, errcode: str) -> None:
        (await join_by_proof(bob, room, alice)).error(status, errcode)
        (await peer.request("PUT", two.one.server_name, path, event)).error(status, errcode)
        assert await membership(alice, room, bob.user_id) is None
        assert await membership(alice, room, mallory) is None

    for answer in (*map(ok, NOT_VALID), ok({"errcode": "M_NOT_FOUND"}, status="404 Not Found")):
        identity.answer = lambda _, answer=answer: answer  # type: ignore[misc]  # mypy cannot tell
        await is_refused(403, "M_FORBIDDEN")
    await bind(carol, room, alice.user_id, proof(carol.user_id))
    assert await membership(alice, room, carol.user_id) is None
    # Those that may say something else another time.
    for answer in (
        ok([]),
        ok({"valid": True}, status="500 Oh"),
        ok({"valid": True}, "Location: https://id.example/", status="302 Found"),
        Raw(b"HTTP/1.1 200 OK\r\n\r\n{", then_close=True),
        Raw(b"", then_close=True),
        ok({"valid": True, "padding": "x" * 100_000}),
    ):
        identity.answer = lambda _, answer=answer: answer  # type: ignore[misc]  # mypy cannot tell
        await is_refused(502, "M_UNKNOWN")
    monkeypatch.setattr(identity_client, "PATIENCE_MS", 50)
    identity.answer = lambda _: Raw(None)
    await is_refused(502, "M_UNKNOWN")


async def test_urls_that_nobody_can_be_asked_at(two: Two, identity: ScriptedServer) -> None:
    alice, bob = await two.one.user("alice"), await two.one.user("bob")
    room = await alice.create_room()
    urls: tuple[Any, ...] = (
        f"http://127.0.0.1:{identity.port}/valid",
        f"https://user:password@127.0.0.1:{identity.port}/valid",
        url_of(identity, "/ü"),
        url_of(identity, "/a b"),
        "https://id.example:x/",
        "https://[::/",
        "https:///valid",
        "file:///etc/passwd",
        "valid",
        "",
        5,
        ["https://id.example/"],
    )
    for number, url in enumerate(urls):
        await invite_by_mail(alice, room, identity, str(number), key_validity_url=url)
        (await join_by_proof(bob, room, alice, str(number))).error(403, "M_FORBIDDEN")
    assert identity.requests == []
