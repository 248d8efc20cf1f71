"""Transactions whose bodies are not what they should be. None of them keeps the next one from being taken."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.federation.harness import Servers
from tests.federation.peer import Peer, federation
from tests.federation.scene import Scene, set_scene


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


def body(scene: Scene, *pdus: object, **others: object) -> dict[str, Any]:
    return {"origin": scene.peer.server_name, "origin_server_ts": 1, "pdus": list(pdus), "edus": [], **others}


async def put(scene: Scene, data: object, txn_id: str = "odd", **options: Any) -> Any:
    path = federation("v1", "send", txn_id)
    return await scene.peer.request("PUT", scene.server.server_name, path, data, **options)


def with_pdu(scene: Scene, text: bytes) -> bytes:
    """A transaction with this text where a PDU stands."""
    return json.dumps(body(scene, "HERE")).encode().replace(b'"HERE"', text)


NOT_JSON: dict[str, Callable[[Scene], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda scene: json.dumps(body(scene)).encode()[:-1],
    "two": lambda scene: json.dumps(body(scene)).encode() * 2,
    "invalid UTF-8": lambda scene: with_pdu(scene, b'{"a": "\xff\xfe"}'),
    "a lone surrogate": lambda scene: with_pdu(scene, b'{"a": "\\ud800"}'),
    "NaN": lambda scene: with_pdu(scene, b'{"a": NaN}'),
    "a byte order mark": lambda scene: b"\xef\xbb\xbf" + json.dumps(body(scene)).encode(),
    "duplicate keys": lambda scene: with_pdu(scene, b'{"type": "a", "type": "b"}'),
    "nested too deep": lambda scene: with_pdu(scene, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "no object": lambda _: b"[]",
    "a number beyond all bounds": lambda scene: with_pdu(scene, b'{"a": 1e999}'),
}


@pytest.mark.parametrize("kind", NOT_JSON)
async def test_what_is_not_proper_json_is_refused(scene: Scene, kind: str) -> None:
    answer = await put(scene, NOT_JSON[kind](scene))
    # The signature cannot cover what has no canonical JSON, so either complaint is right.
    assert answer.status in (400, 401), answer
    await scene.deliver("after")


WRONG_SHAPES: dict[str, dict[str, Any]] = {
    "pdus no list": {"pdus": {}},
    "pdus missing": {"pdus": None},
    "edus no list": {"edus": 5},
    "too many pdus": {"pdus": [{}] * 51},
    "too many edus": {"edus": [{"edu_type": "x", "content": {}}] * 101},
}


@pytest.mark.parametrize("kind", WRONG_SHAPES)
async def test_a_transaction_of_a_wrong_shape_is_refused(scene: Scene, kind: str) -> None:
    answer = await put(scene, body(scene, **WRONG_SHAPES[kind]))
    assert answer.status == 400, answer
    await scene.deliver("after")


@pytest.mark.parametrize("odd", [5, "x", None, [], {}, {"room_id": 5}, {"room_id": "!x"}, {"type": []}])
async def test_what_is_no_event_leaves_the_others_alone(scene: Scene, odd: object) -> None:
    answer = await scene.deliver("after", odd)
    assert list(answer.ok()["pdus"].values()).count({}) == 1


async def test_json_need_not_be_canonical_on_the_wire(scene: Scene) -> None:
    """Blanks, the order of keys and escapes are the sender's own affair; signatures cover the values."""
    pdu = scene.says("h\N{LATIN SMALL LETTER E WITH ACUTE}")
    shuffled = dict(reversed(pdu.items()))
    data = json.dumps(body(scene, shuffled), indent=3, ensure_ascii=True).encode()
    answer = (await put(scene, data)).ok()
    assert answer == {"pdus": {scene.room.accept(pdu): {}}}
    await scene.seen("h\N{LATIN SMALL LETTER E WITH ACUTE}")


async def test_a_body_beyond_the_limit_is_refused(scene: Scene) -> None:
    answer = await put(scene, body(scene, padding="x" * (11 * 1024 * 1024)))
    answer.error(413, "M_TOO_LARGE")
    await scene.deliver("after")


async def test_a_compressed_body_is_not_unpacked(scene: Scene) -> None:
    """A bomb: 50 MB of blanks in 50 kB."""
    bomb = gzip.compress(b"{" + b" " * 50_000_000 + b"}")
    answer = await put(scene, bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status in (400, 401, 415), answer
    await scene.deliver("after")


async def test_a_repeated_transaction_is_answered_as_before_and_done_once(scene: Scene) -> None:
    pdu = scene.says("once")
    first = (await scene.send([pdu], txn_id="same")).ok()
    event_id = scene.room.accept(pdu)
    assert first == {"pdus": {event_id: {}}}
    assert (await scene.send([pdu], txn_id="same")).ok() == first
    # Under the same ID anything else counts as the same transaction.
    other = scene.says("another")
    assert (await scene.send([other], txn_id="same")).ok() == first
    await scene.deliver("after")
    assert await scene.texts() == ["once", "after"]


async def test_an_event_that_comes_in_several_transactions_is_shown_once(scene: Scene) -> None:
    pdu = scene.says("once")
    for number in range(3):
        (await scene.send([pdu, pdu], txn_id=f"again{number}")).ok()
    scene.room.accept(pdu)
    await scene.deliver("after")
    (await scene.send([pdu])).ok()
    await scene.deliver("at last")
    assert await scene.texts() == ["once", "after", "at last"]


async def test_events_in_the_wrong_order_find_their_places(scene: Scene) -> None:
    first = scene.says("first")
    scene.room.accept(first)
    second = scene.says("second")
    scene.room.accept(second)
    third = scene.says("third")
    scene.room.accept(third)
    (await scene.send([third, second, first])).ok()
    await scene.deliver("after")
    assert await scene.texts() == ["first", "second", "third", "after"]


async def test_transactions_in_the_wrong_order_find_their_places(scene: Scene) -> None:
    pdus = []
    for text in ("first", "second", "third"):
        pdus.append(scene.says(text))
        scene.room.accept(pdus[-1])
    for pdu in reversed(pdus):
        (await scene.send([pdu])).ok()
    await scene.deliver("after")
    assert sorted(await scene.texts()) == ["after", "first", "second", "third"]
