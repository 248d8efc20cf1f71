"""Client-server API, `read_markers.yaml`."""

import pytest

from homeserver.storage import receipts, rooms
from tests.api.user_data_harness import ALICE, LAST, REPLY, ROOM, ROOT, Api

PATH = f"/rooms/{ROOM}/read_markers"
FULLY_READ = f"/user/{ALICE}/rooms/{ROOM}/account_data/m.fully_read"


async def test_all_markers_at_once(api: Api) -> None:
    answer = await api.post(PATH, {"m.fully_read": ROOT, "m.read": REPLY, "m.read.private": LAST})
    assert (answer.status, answer.body) == (200, {})
    assert (await api.get(FULLY_READ)).body == {"event_id": ROOT}
    nid = await api.database.read(rooms.nid_of, ROOM)
    assert nid is not None
    found = await api.database.read(receipts.since, ALICE, [nid], since=0, upto=2**62)
    assert [(receipt.receipt_type, receipt.event_id) for receipt in found[nid]] == [
        ("m.read", REPLY),
        ("m.read.private", LAST),
    ]


async def test_no_marker_at_all(api: Api) -> None:
    assert (await api.post(PATH, {})).status == 200


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"m.fully_read": 5}, 400, "M_BAD_JSON"),
        ({"m.read": "no-event-id"}, 400, "M_INVALID_PARAM"),
        ({"m.fully_read": ROOT, "m.read": "$unknown"}, 404, "M_NOT_FOUND"),
    ],
)
async def test_what_is_refused_moves_nothing(api: Api, body: object, status: int, errcode: str) -> None:
    answer = await api.post(PATH, body)
    assert (answer.status, answer.errcode) == (status, errcode)
    assert (await api.get(FULLY_READ)).status == 404
