"""Server-server API, "Policy Servers": a foreign server judges the events of a room on ours."""

from typing import Any

import attrs
import pytest

from homeserver.core.hashes import encode_base64
from homeserver.core.policy_servers import KEY_ID, PolicyServer
from homeserver.core.redaction import redact
from homeserver.core.room_versions import get_room_version
from homeserver.core.signing import signed_bytes
from tests.api.server import Client, room_path
from tests.federation.harness import Servers, signing_key, until
from tests.federation.peer import Heard, Peer, Reply
from tests.federation.scene import Scene, set_scene

SIGN = "/_matrix/policy/v1/sign"
KEY = signing_key("policy_server")
VERSION = get_room_version("11")


@attrs.frozen
class Guarded:
    scene: Scene
    alice: Client
    peer: Peer
    room_id: str


def sign(peer: Peer, heard: Heard) -> dict[str, Any]:
    return {peer.server_name: {KEY_ID: KEY.sign(signed_bytes(redact(heard.json, VERSION)))}}


@pytest.fixture
async def guarded(servers: Servers, peer: Peer) -> Guarded:
    """A room that uses the peer as its policy server."""
    scene = await set_scene(servers, peer)
    keys = {"ed25519": encode_base64(KEY.verify_key)}
    policy = {"via": peer.server_name, "public_keys": keys}
    await scene.alice.set_state(scene.room.room_id, "m.room.policy", policy)
    peer.answer("POST", SIGN, lambda heard: sign(peer, heard))
    return Guarded(scene, scene.alice, peer, scene.room.room_id)


async def test_a_message_is_signed_before_it_is_sent(guarded: Guarded) -> None:
    event_id = await guarded.alice.send(guarded.room_id, "hello")
    (heard,) = guarded.peer.heard_at(SIGN)
    assert heard.json["content"]["body"] == "hello"
    assert "X-Matrix" in heard.headers["authorization"]
    assert (await guarded.alice.get(room_path(guarded.room_id, "event", event_id))).status == 200


async def test_a_refusal_reaches_the_client_as_it_was_said(guarded: Guarded) -> None:
    guarded.peer.answer("POST", SIGN, Reply({"errcode": "M_FORBIDDEN", "error": "Looks like spam"}, 400))
    path = room_path(guarded.room_id, "send", "m.room.message", "t1")
    error = (await guarded.alice.put(path, {"msgtype": "m.text", "body": "spam"})).error(400, "M_FORBIDDEN")
    assert "Looks like spam" in error["error"]
    assert await guarded.alice.messages_in(guarded.room_id) == []


async def test_an_event_of_another_server_is_judged_too(guarded: Guarded) -> None:
    """ "If the event was received over federation, soft fail the event.\""""
    scene = guarded.scene
    await scene.deliver("good")
    assert [heard.json["content"]["body"] for heard in guarded.peer.heard_at(SIGN)] == ["good"]
    guarded.peer.answer("POST", SIGN, Reply({"errcode": "M_FORBIDDEN", "error": "Looks like spam"}, 400))
    spam = scene.says("spam")
    (await scene.send([spam])).ok()

    async def is_judged() -> bool:
        return len(guarded.peer.heard_at(SIGN)) == 2

    await until(is_judged, what="the question about the spam")
    signed = scene.says("signed already")
    signature = KEY.sign(signed_bytes(redact(signed, VERSION)))
    policy_server = PolicyServer(guarded.peer.server_name, encode_base64(KEY.verify_key))
    (await scene.send([policy_server.add(signed, signature)])).ok()
    await scene.seen("signed already")
    assert await scene.texts() == ["good", "signed already"]
    assert len(guarded.peer.heard_at(SIGN)) == 2
