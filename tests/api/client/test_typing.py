"""Client-server API, `typing.yaml`."""

import pytest

from homeserver.core.identifiers import UserID
from homeserver.runtime.clock import SystemClock
from homeserver.storage import rooms, typing
from tests.api.user_data_harness import ALICE, BOB, ROOM, Api

PATH = f"/rooms/{ROOM}/typing/{ALICE}"


async def who(api: Api) -> list[UserID]:
    nid = await api.database.read(rooms.nid_of, ROOM)
    assert nid is not None
    return (await api.database.read(typing.now, [nid], now_ts=SystemClock().now_ts())).get(nid, [])


async def test_typing_starts_and_stops(api: Api) -> None:
    answer = await api.put(PATH, {"typing": True, "timeout": 30_000})
    assert (answer.status, answer.body) == (200, {})
    assert await who(api) == [ALICE]
    assert (await api.put(PATH, {"typing": False})).status == 200
    assert await who(api) == []


async def test_the_timeout_may_be_missing(api: Api) -> None:
    assert (await api.put(PATH, {"typing": True})).status == 200
    assert await who(api) == [ALICE]


@pytest.mark.parametrize("body", [{}, {"typing": "yes"}, {"typing": True, "timeout": "long"}])
async def test_what_is_malformed(api: Api, body: object) -> None:
    answer = await api.put(PATH, body)
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")


async def test_who_may_type(api: Api) -> None:
    for path, by in ((PATH, BOB), (f"/rooms/!other:x/typing/{ALICE}", ALICE)):
        answer = await api.put(path, {"typing": True}, by=by)
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert await who(api) == []
