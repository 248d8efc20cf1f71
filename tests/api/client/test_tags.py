"""Client-server API, `tags.yaml`."""

from tests.api.user_data_harness import ALICE, BOB, ROOM, Api

TAGS = f"/user/{ALICE}/rooms/{ROOM}/tags"


async def test_tags_are_set_listed_and_deleted(api: Api) -> None:
    assert (await api.get(TAGS)).body == {"tags": {}}
    answer = await api.put(f"{TAGS}/m.favourite", {"order": 0.25})
    assert (answer.status, answer.body) == (200, {})
    await api.put(f"{TAGS}/u.My%20%2F%20Work", {})
    assert (await api.get(TAGS)).body == {"tags": {"m.favourite": {"order": 0.25}, "u.My / Work": {}}}
    answer = await api.call("DELETE", f"{TAGS}/m.favourite")
    assert (answer.status, answer.body) == (200, {})
    content = (await api.get(f"/user/{ALICE}/rooms/{ROOM}/account_data/m.tag")).body
    assert content == {"tags": {"u.My / Work": {}}}


async def test_what_is_refused(api: Api) -> None:
    for order, errcode in (("first", "M_BAD_JSON"), (2, "M_INVALID_PARAM")):
        answer = await api.put(f"{TAGS}/u.Work", {"order": order})
        assert (answer.status, answer.errcode) == (400, errcode)
    answer = await api.get(TAGS, by=BOB)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
