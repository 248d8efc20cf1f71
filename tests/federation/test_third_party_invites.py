"""Invitations by e-mail address are redeemed. Server-server API, "Third-party invites"."""

from typing import Any

import pytest

from homeserver.core.hashes import encode_base64
from homeserver.core.signing import SigningKey, sign_json
from tests.api.server import Client, room_path
from tests.federation.conftest import Two
from tests.federation.harness import until
from tests.federation.meetings import join_via, membership, section, sees
from tests.federation.peer import Peer, federation

IDENTITY = SigningKey.generate("0", seed=b"the key of the identity server!!")
OTHER = SigningKey.generate("0", seed=bytes(32))
ONBIND = "/_matrix/federation/v1/3pid/onbind"


async def invite_by_mail(inviter: Client, room: str, token: str = "t") -> None:
    """What remains in a room of an invitation by e-mail address."""
    key = encode_base64(IDENTITY.verify_key)
    content = {"display_name": "b...@e...", "key_validity_url": "https://id.example/valid", "public_key": key}
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
async def test_the_inviters_server_is_asked(two: Two, version: str) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(room_version=version)
    await invite_by_mail(alice, room)
    await bind(bob, room, alice.user_id, proof(bob.user_id))
    await section(bob, room, "invite")
    content = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert content["third_party_invite"]["display_name"] == "b...@e..."
    await bob.join(room)
    await sees(alice, room, bob.user_id, "join")


@pytest.mark.parametrize("version", ["1", "11"])
async def test_the_inviters_server_is_asked_also_by_one_that_is_in_the_room(two: Two, version: str) -> None:
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.other.user("bob"),
        await two.other.user("carol"),
    )
    room = await alice.create_room(preset="public_chat", room_version=version)
    await join_via(carol, room, two.one)
    await invite_by_mail(alice, room)
    await sees_state(carol, room, "m.room.third_party_invite", "t")
    await bind(bob, room, alice.user_id, proof(bob.user_id))
    await section(bob, room, "invite")
    await sees(alice, room, bob.user_id, "invite")


async def sees_state(client: Client, room: str, kind: str, key: str) -> None:
    async def is_there() -> bool:
        return (await client.get(room_path(room, "state", kind, key))).status == 200

    await until(is_there, what=f"{kind} has come")


async def test_proofs_that_are_none(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await invite_by_mail(alice, room)
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


async def test_a_client_brings_the_proof(two: Two) -> None:
    """Client-server API, `third_party_signed` of `POST /rooms/{roomId}/join`."""
    alice, bob = await two.one.user("alice"), await two.one.user("bob")
    room = await alice.create_room()
    await invite_by_mail(alice, room)
    signed = sign_json({"mxid": bob.user_id, "token": "t", "sender": alice.user_id}, "id.example", IDENTITY)
    (await bob.post(room_path(room, "join"), {"third_party_signed": signed})).ok()
    assert await membership(alice, room, bob.user_id) == "join"


async def test_who_asks_for_an_exchange(two: Two, peer: Peer) -> None:
    alice = await two.one.user("alice")
    room = await alice.create_room()
    await invite_by_mail(alice, room)
    mallory = f"@mallory:{peer.server_name}"
    event = {
        "type": "m.room.member",
        "room_id": room,
        "sender": alice.user_id,
        "state_key": mallory,
        "content": {
            "membership": "invite",
            "third_party_invite": {"display_name": "m", "signed": proof(mallory, key=OTHER)},
        },
    }
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
