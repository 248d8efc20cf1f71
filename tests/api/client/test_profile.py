"""Client-server API, `profile.yaml`."""

import pytest

from tests.api.user_data_harness import ALICE, BOB, GUEST, Api

MXC = "mxc://example.org/SEsfnsuifSDFSSEF"


async def test_fields_are_set_read_and_deleted(api: Api) -> None:
    path = f"/profile/{ALICE}"
    for key, value in (("displayname", "Alice"), ("avatar_url", MXC), ("org.example.list", [1, None])):
        answer = await api.put(f"{path}/{key}", {key: value})
        assert (answer.status, answer.body) == (200, {})
        assert (await api.get(f"{path}/{key}", by=None)).body == {key: value}
    assert (await api.get(path, by=None)).body == {
        "displayname": "Alice",
        "avatar_url": MXC,
        "org.example.list": [1, None],
    }
    answer = await api.call("DELETE", f"{path}/avatar_url")
    assert (answer.status, answer.body) == (200, {})
    answer = await api.get(f"{path}/avatar_url")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    assert api.members.names == ["Alice", "Alice", "Alice"]


async def test_a_profile_that_is_not_there(api: Api) -> None:
    for user_id in ("@nobody:x", "@somebody:elsewhere"):
        answer = await api.get(f"/profile/{user_id}", by=None)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("key", "body", "status", "errcode"),
    [
        ("displayname", b"{", 400, "M_NOT_JSON"),
        ("displayname", {}, 400, "M_MISSING_PARAM"),
        ("displayname", {"displayname": 5}, 400, "M_BAD_JSON"),
        ("avatar_url", {"avatar_url": "https://example.org/a.png"}, 400, "M_INVALID_PARAM"),
        ("Not%20a%20key", {"Not a key": 1}, 400, "M_INVALID_PARAM"),
        ("a" * 256, {"a" * 256: 1}, 400, "M_KEY_TOO_LARGE"),
        ("org.example", {"org.example": "x" * 65_536}, 400, "M_PROFILE_TOO_LARGE"),
    ],
)
async def test_what_is_refused(api: Api, key: str, body: object, status: int, errcode: str) -> None:
    answer = await api.put(f"/profile/{ALICE}/{key}", body)
    assert (answer.status, answer.errcode) == (status, errcode)


async def test_whose_profile_it_is(api: Api) -> None:
    path = f"/profile/{ALICE}/displayname"
    assert (await api.put(path, {"displayname": "x"}, by=None)).status == 401
    answer = await api.put(path, {"displayname": "x"}, by=BOB)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    answer = await api.call("DELETE", path, by=BOB)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


async def test_guests_have_a_display_name_only(api: Api) -> None:
    path = f"/profile/{GUEST}"
    assert (await api.put(f"{path}/displayname", {"displayname": "G"}, by=GUEST)).status == 200
    assert (await api.call("DELETE", f"{path}/displayname", by=GUEST)).status == 200
    answer = await api.put(f"{path}/avatar_url", {"avatar_url": MXC}, by=GUEST)
    assert (answer.status, answer.errcode) == (403, "M_GUEST_ACCESS_FORBIDDEN")
