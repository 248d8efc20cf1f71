"""Client-server API, `receipts.yaml`."""

import pytest

from homeserver.core.receipts import Receipt
from homeserver.storage import receipts, rooms
from tests.api.user_data_harness import ALICE, BOB, GUEST, LAST, REPLY, ROOM, ROOT, Api

PATH = f"/rooms/{ROOM}/receipt"


async def seen_by_bob(api: Api) -> list[Receipt]:
    nid = await api.database.read(rooms.nid_of, ROOM)
    assert nid is not None
    return (await api.database.read(receipts.since, BOB, [nid], since=0, upto=2**62)).get(nid, [])


async def test_a_receipt_is_sent(api: Api) -> None:
    answer = await api.post(f"{PATH}/m.read/{LAST}", {})
    assert (answer.status, answer.body) == (200, {})
    assert [(receipt.user_id, receipt.event_id) for receipt in await seen_by_bob(api)] == [(ALICE, LAST)]


async def test_the_body_may_be_missing(api: Api) -> None:
    assert (await api.call("POST", f"{PATH}/m.read/{LAST}")).status == 200


async def test_private_receipts_are_not_shown(api: Api) -> None:
    assert (await api.post(f"{PATH}/m.read.private/{LAST}", {})).status == 200
    assert await seen_by_bob(api) == []


async def test_a_threaded_receipt(api: Api) -> None:
    assert (await api.post(f"{PATH}/m.read/{REPLY}", {"thread_id": ROOT})).status == 200
    assert [receipt.thread_id for receipt in await seen_by_bob(api)] == [ROOT]


async def test_the_fully_read_marker_is_set_here_too(api: Api) -> None:
    assert (await api.post(f"{PATH}/m.fully_read/{LAST}", {})).status == 200
    marker = await api.get(f"/user/{ALICE}/rooms/{ROOM}/account_data/m.fully_read")
    assert marker.body == {"event_id": LAST}
    assert await seen_by_bob(api) == []


@pytest.mark.parametrize(
    ("receipt_type", "event_id", "body"),
    [
        ("m.read", LAST, {"thread_id": 5}),
        ("m.read", LAST, {"thread_id": ""}),
        ("m.read", LAST, {"thread_id": ROOT}),
        ("m.read", REPLY, {"thread_id": "main"}),
        ("m.fully_read", LAST, {"thread_id": "main"}),
        ("m.unknown", LAST, {}),
        ("m.read", "no-event-id", {}),
    ],
)
async def test_what_is_invalid(api: Api, receipt_type: str, event_id: str, body: object) -> None:
    answer = await api.post(f"{PATH}/{receipt_type}/{event_id}", body)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    assert await seen_by_bob(api) == []


async def test_events_and_rooms_that_are_not_the_users(api: Api) -> None:
    answer = await api.post(f"{PATH}/m.read/$unknown", {})
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    answer = await api.post(f"/rooms/!other:x/receipt/m.read/{LAST}", {})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    answer = await api.post(f"{PATH}/m.read/{LAST}", {}, by=GUEST)
    assert (answer.status, answer.errcode) == (403, "M_GUEST_ACCESS_FORBIDDEN")
