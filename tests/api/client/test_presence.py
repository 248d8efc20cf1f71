"""Client-server API, `presence.yaml`."""

import pytest

from homeserver.core.identifiers import UserID
from tests.api.user_data_harness import ALICE, BOB, Api

PATH = f"/presence/{ALICE}/status"


async def test_presence_is_set_and_seen(api: Api) -> None:
    assert (await api.get(PATH)).body == {"presence": "offline"}
    answer = await api.put(PATH, {"presence": "unavailable", "status_msg": "I am there."})
    assert (answer.status, answer.body) == (200, {})
    for by in (ALICE, BOB):
        seen = (await api.get(PATH, by=by)).body
        assert 0 <= seen.pop("last_active_ago") < 60_000
        assert seen == {"presence": "unavailable", "status_msg": "I am there."}


async def test_only_ones_own_is_set(api: Api) -> None:
    answer = await api.put(PATH, {"presence": "online"}, by=BOB)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


async def test_strangers_are_not_shown(api: Api) -> None:
    for stranger in (UserID("@guest:x"), UserID("@nobody:x")):
        answer = await api.get(f"/presence/{stranger}/status")
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("body", [{}, {"presence": "busy"}, {"presence": "online", "status_msg": 5}])
async def test_what_is_malformed(api: Api, body: object) -> None:
    answer = await api.put(PATH, body)
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")
