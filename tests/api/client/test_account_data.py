"""Client-server API, `account-data.yaml`."""

import pytest

from tests.api.user_data_harness import ALICE, BOB, GUEST, ROOM, Api

GLOBAL = f"/user/{ALICE}/account_data"
PER_ROOM = f"/user/{ALICE}/rooms/{ROOM}/account_data"


@pytest.mark.parametrize("path", [GLOBAL, PER_ROOM])
async def test_data_are_set_and_read(api: Api, path: str) -> None:
    content = {"custom": [1, 2.5, {"ü": None}]}
    answer = await api.put(f"{path}/org.example", content)
    assert (answer.status, answer.body) == (200, {})
    answer = await api.get(f"{path}/org.example")
    assert (answer.status, answer.body) == (200, content)
    answer = await api.get(f"{path}/org.other")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize("path", [GLOBAL, PER_ROOM])
@pytest.mark.parametrize("type", ["m.fully_read", "m.push_rules"])
async def test_the_servers_own_types_are_refused(api: Api, path: str, type: str) -> None:
    answer = await api.put(f"{path}/{type}", {})
    assert (answer.status, answer.errcode) == (405, "M_BAD_JSON")


async def test_push_rules_can_be_read(api: Api) -> None:
    rules = (await api.get("/pushrules/")).body
    assert (await api.get(f"{GLOBAL}/m.push_rules")).body == rules


@pytest.mark.parametrize("path", [GLOBAL, PER_ROOM])
async def test_only_their_user_sees_them(api: Api, path: str) -> None:
    for answer in (await api.get(f"{path}/a", by=BOB), await api.put(f"{path}/a", {}, by=BOB)):
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert (await api.get(f"{path}/a", by=None)).status == 401
    assert (await api.get(f"{path}/a", by=GUEST)).errcode == "M_GUEST_ACCESS_FORBIDDEN"


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        (GLOBAL, b"nonsense", "M_NOT_JSON"),
        (GLOBAL, [1], "M_BAD_JSON"),
        (f"/user/{ALICE}/rooms/@notaroomid:example.org/account_data", {}, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_malformed(api: Api, path: str, body: object, errcode: str) -> None:
    answer = await api.put(f"{path}/org.example", body)
    assert (answer.status, answer.errcode) == (400, errcode)
