"""Client-server API, `filter.yaml`."""

from tests.api.user_data_harness import ALICE, BOB, Api

PATH = f"/user/{ALICE}/filter"


async def test_a_filter_is_kept(api: Api) -> None:
    uploaded = {"room": {"timeline": {"limit": 10, "types": ["m.room.message"]}}, "event_format": "client"}
    answer = await api.post(PATH, uploaded)
    assert answer.status == 200
    assert set(answer.body) == {"filter_id"}
    answer = await api.get(f"{PATH}/{answer.body['filter_id']}")
    assert (answer.status, answer.body) == (200, uploaded)


async def test_what_is_refused(api: Api) -> None:
    answer = await api.post(PATH, {"room": {"timeline": {"limit": "ten"}}})
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")
    assert "$.room.timeline.limit" in answer.body["error"]
    answer = await api.get(f"{PATH}/unknown")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    answer = await api.post(PATH, {}, by=BOB)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
