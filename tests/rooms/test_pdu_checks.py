"""Server-server API, "Checks performed on receipt of a PDU", 1 to 3."""

import threading
from typing import Any

import pytest

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, TooLarge
from homeserver.core.json import JsonObject, canonical
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import add_signature
from homeserver.rooms import pdu_checks
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks, RefusedPdu
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, FAMILIES, Keys, SignedRoom, key_of


async def check(pdu: JsonObject, version: str = "10", keys: Keys | None = None) -> CheckedPdu | RefusedPdu:
    return (await PduChecks(keys or Keys()).check([pdu], ROOM_VERSIONS[version]))[0]


@pytest.mark.parametrize("version", FAMILIES)
async def test_good_events_pass(version: str) -> None:
    room = SignedRoom.new(version)
    room.say(ALICE)
    events = list(room.events.values())
    keys = Keys()
    found = await PduChecks(keys).check([room.pdu(event) for event in events], room.version)
    assert [each.event_id for each in found if isinstance(each, RefusedPdu)] == []
    assert [each.event for each in found if isinstance(each, CheckedPdu)] == events
    assert len(keys.asked) == 1


async def test_many_events_are_checked_in_order_with_one_question_for_keys() -> None:
    room = SignedRoom.new()
    room.join(BOB)
    for number in range(150):
        room.say(BOB if number % 2 else ALICE, str(number))
    events = list(room.events.values())
    keys = Keys()
    found = await PduChecks(keys).check([room.pdu(event) for event in events], room.version)
    assert [each.event for each in found if isinstance(each, CheckedPdu)] == events
    assert len(keys.asked) == 1


async def test_many_events_are_checked_beside_the_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few are checked at once: that is done sooner than another thread is there."""
    threads: set[int] = set()

    def verify(*args: Any) -> Any:
        threads.add(threading.get_ident())
        return original(*args)

    original = pdu_checks._verify
    monkeypatch.setattr(pdu_checks, "_verify", verify)
    room = SignedRoom.new()
    for number in range(2 * pdu_checks.CHUNK):
        room.say(ALICE, str(number))
    pdus = [room.pdu(event) for event in room.events.values()]
    await PduChecks(Keys()).check(pdus, room.version)
    assert threading.get_ident() not in threads
    await PduChecks(Keys()).check(pdus[: pdu_checks.FEW], room.version)
    assert threading.get_ident() in threads


async def test_unsigned_is_dropped() -> None:
    room = SignedRoom.new()
    pdu = room.pdu(room.say(ALICE))
    found = await check({**pdu, "unsigned": {"age": 1}})
    assert isinstance(found, CheckedPdu)
    assert found.data == canonical(pdu)
    assert "unsigned" not in found.event.pdu


@pytest.mark.parametrize("version", FAMILIES)
async def test_a_wrong_hash_makes_it_redacted(version: str) -> None:
    room = SignedRoom.new(version)
    pdu = room.pdu(room.say(ALICE))
    found = await check({**pdu, "content": {"body": "forged"}}, version)
    assert isinstance(found, CheckedPdu)
    assert found.data == canonical(redact(pdu, room.version))
    assert found.event.content == {}
    assert found.event.event_id == room.last.event_id


async def test_an_event_that_came_redacted_passes() -> None:
    room = SignedRoom.new()
    pdu = redact(room.pdu(room.say(ALICE)), room.version)
    found = await check(pdu)
    assert isinstance(found, CheckedPdu)
    assert found.data == canonical(pdu)


@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {"a.example": {}},
        {"a.example": {"ed25519:other": "A" * 86}},
        {"a.example": {"ed25519:k": "A" * 86}},
        {"a.example": {"ed25519:k": "not base64!"}},
        {"b.example": {"ed25519:k": "A" * 86}},
    ],
)
async def test_without_a_good_signature_of_the_sender_it_is_dropped(signatures: Any) -> None:
    room = SignedRoom.new()
    pdu = room.pdu(room.say(ALICE))
    found = await check({**pdu, "signatures": signatures})
    assert isinstance(found, RefusedPdu)
    assert found.event_id == room.last.event_id
    assert isinstance(found.error, InvalidSignature)


async def test_signatures_of_others_and_with_unknown_keys_do_not_count() -> None:
    room = SignedRoom.new()
    pdu = room.pdu(room.say(ALICE))
    signed: Any = pdu["signatures"]
    signatures = {
        **signed,
        "policy.example": {"ed25519:policy_server": "x"},
        "a.example": {**signed["a.example"], "ed25519:gone": "A" * 86},
    }
    assert isinstance(await check({**pdu, "signatures": signatures}), CheckedPdu)


async def test_a_server_whose_keys_cannot_be_had() -> None:
    room = SignedRoom.new()
    room.join(BOB)
    found = await check(room.pdu(room.say(BOB)), keys=Keys(missing={"b.example"}))
    assert isinstance(found, RefusedPdu)


@pytest.mark.parametrize(("version", "enforced"), [("4", False), ("5", True)])
async def test_keys_must_be_valid_at_the_event(version: str, *, enforced: bool) -> None:
    room = SignedRoom.new(version)
    event = room.say(ALICE)
    keys = Keys()
    await check(room.pdu(event), version, keys)
    (wanted,) = keys.asked[0]
    assert wanted.valid_at_ts == (event.origin_server_ts if enforced else None)


async def test_the_server_in_the_event_id_signs_in_old_versions() -> None:
    room = SignedRoom.new("1")
    pdu = room.pdu(room.say(ALICE)) | {"event_id": "$1:b.example"}
    found = await check(pdu, "1")
    assert isinstance(found, RefusedPdu)
    twice = add_signature(
        add_signature(pdu, room.version, "b.example", key_of("b.example")),
        room.version,
        "a.example",
        key_of("a.example"),
    )
    assert isinstance(await check(twice, "1"), CheckedPdu)


async def test_who_authorises_a_restricted_join_is_told_of_if_it_has_signed() -> None:
    room = SignedRoom.new("10")
    content = {"membership": "join", "join_authorised_via_users_server": ALICE}
    pdu = room.pdu(room.send("m.room.member", BOB, content, BOB))
    found = await check(pdu)
    assert isinstance(found, CheckedPdu)
    assert found.signed_by == {"b.example"}
    signed = add_signature(pdu, room.version, "a.example", key_of("a.example"))
    found = await check(signed)
    assert isinstance(found, CheckedPdu)
    assert found.signed_by == {"a.example", "b.example"}
    # Whether it has signed cannot be told now: that is no reason to reject the event for ever.
    assert isinstance(await check(signed, keys=Keys(missing={"a.example"})), RefusedPdu)


async def test_a_third_party_invite_need_not_be_signed_by_the_senders_server() -> None:
    room = SignedRoom.new("10")
    content = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    pdu = room.pdu(room.send("m.room.member", ALICE, content, CAROL, server_name="c.example"))
    assert isinstance(await check(pdu), CheckedPdu)


async def test_what_is_no_event_is_dropped_beside_the_others() -> None:
    room = SignedRoom.new()
    good = room.pdu(room.say(ALICE))
    bad: list[JsonObject] = [
        {},
        {**good, "depth": -1},
        {**good, "depth": 1.5},
        {**good, "content": {"n": 2**60}},
        {**good, "prev_events": [good["prev_events"]]},
        {**good, "sender": "alice"},
        {**good, "content": {"body": "x" * 70_000}},
    ]
    found = await PduChecks(Keys()).check([*bad, good], room.version)
    assert isinstance(found[-1], CheckedPdu)
    for each in found[:-1]:
        assert isinstance(each, RefusedPdu)
        assert isinstance(each.error, (BadJson, TooLarge))
