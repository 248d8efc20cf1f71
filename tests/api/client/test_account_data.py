"""Client-server API, `account-data.yaml`."""

import pytest

from tests.api.server import Client, TestServer, path_of


def paths(user_id: str, room: str, type: str) -> tuple[str, str]:
    """Where data of the account and data of a room are."""
    return (
        path_of("user", user_id, "account_data", type),
        path_of("user", user_id, "rooms", room, "account_data", type),
    )


async def test_data_are_kept_and_told_to_all_devices(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    phone = await server.device(alice)
    since = (await phone.sync())["next_batch"]
    everywhere, here = paths(alice.user_id, room, "org.example")
    for path, content in ((everywhere, {"custom": [1, 2.5, {"ü": None}]}), (here, {"for": "a room"})):
        (await alice.get(path)).error(404, "M_NOT_FOUND")
        assert (await alice.put(path, content)).ok() == {}
        assert (await phone.get(path)).ok() == content
    answer = await phone.sync(since)
    (told,) = answer["account_data"]["events"]
    assert told == {"type": "org.example", "content": {"custom": [1, 2.5, {"ü": None}]}}
    (told,) = answer["rooms"]["join"][room]["account_data"]["events"]
    assert told == {"type": "org.example", "content": {"for": "a room"}}
    # The last content counts; an empty one is content, too.
    (await alice.put(everywhere, {})).ok()
    assert (await alice.get(everywhere)).ok() == {}
    answer = await phone.sync(answer["next_batch"])
    assert answer["account_data"]["events"] == [{"type": "org.example", "content": {}}]


async def test_types_are_any_text(alice: Client) -> None:
    for name in ("im.vector.setting.breadcrumbs", "ünïcode / 100%", "x" * 255):
        for path in paths(alice.user_id, "!somewhere:else", name):
            (await alice.put(path, {"type": name})).ok()
            assert (await alice.get(path)).ok() == {"type": name}
    for path in paths(alice.user_id, "!somewhere:else", "ü" * 128):
        (await alice.put(path, {})).error(400, "M_INVALID_PARAM")


@pytest.mark.parametrize("type", ["m.fully_read", "m.push_rules"])
async def test_the_servers_own_types_are_refused(alice: Client, type: str) -> None:
    for path in paths(alice.user_id, await alice.create_room(), type):
        (await alice.put(path, {})).error(405, "M_BAD_JSON")


async def test_push_rules_can_be_read(alice: Client) -> None:
    path, _ = paths(alice.user_id, "!room", "m.push_rules")
    assert (await alice.get(path)).ok() == (await alice.get(path_of("pushrules", ""))).ok()


async def test_only_their_user_sees_them(alice: Client, bob: Client, guest: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    for path in paths(alice.user_id, room, "org.example"):
        (await alice.put(path, {"a": 1})).ok()
        for answer in (await bob.get(path), await bob.put(path, {"a": 2})):
            answer.error(403, "M_FORBIDDEN")
        for answer in (await guest.get(path), await guest.put(path)):
            answer.error(403, "M_GUEST_ACCESS_FORBIDDEN")
        assert (await alice.get(path)).ok() == {"a": 1}


async def test_what_is_malformed(alice: Client) -> None:
    everywhere, here = paths(alice.user_id, "!room:x", "org.example")
    for path in (everywhere, here):
        (await alice.put(path, b"nonsense")).error(400, "M_NOT_JSON")
        (await alice.put(path, [1])).error(400, "M_BAD_JSON")
        (await alice.put(path, {"large": "x" * 1024 * 1024})).error(413, "M_TOO_LARGE")
        (await alice.get(path)).error(404, "M_NOT_FOUND")
    _, nowhere = paths(alice.user_id, "@notaroomid:example.org", "org.example")
    for answer in (await alice.put(nowhere, {}), await alice.get(nowhere)):
        answer.error(400, "M_INVALID_PARAM")
