"""Client-server API, `notifications.yaml`."""

from typing import Any

import pytest

from homeserver.services import notifications
from tests.api.server import Client, TestServer, path_of, room_path

NOTIFICATIONS = path_of("notifications")
SOUND, HIGHLIGHT = {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}


async def listed(client: Client, **query: object) -> list[Any]:
    """One page of notifications."""
    return list((await client.get(NOTIFICATIONS, **query)).ok()["notifications"])


def bodies(page: list[Any]) -> list[str]:
    return [each["event"]["content"].get("body", each["event"]["type"]) for each in page]


async def pages(client: Client, **query: object) -> list[list[Any]]:
    """All pages."""
    found, token = [], None
    while True:
        answer = (await client.get(NOTIFICATIONS, **query, **({"from": token} if token else {}))).ok()
        found.append(answer["notifications"])
        token = answer.get("next_token")
        if token is None:
            return found


def mentioning(**whom: object) -> dict[str, Any]:
    return {"m.mentions": whom}


async def room_of_two(alice: Client, bob: Client) -> str:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return room


async def test_what_notified_comes_newest_first(alice: Client, bob: Client) -> None:
    room, other = await room_of_two(alice, bob), await room_of_two(alice, bob)
    first = await alice.send(room, "one")
    await bob.send(room, "an own one")
    await alice.send(other, "two")
    await alice.send_event(room, "m.reaction", {})
    await alice.send(room, "notice", msgtype="m.notice")
    await alice.send(room, "three")
    page = await listed(bob)
    assert bodies(page) == ["three", "two", "one"]
    last = page[-1]
    assert last["event"]["event_id"] == first
    assert "room_id" not in last["event"]
    # Who has answered has read what was before.
    assert [each["read"] for each in page] == [False, False, True]
    assert (last["room_id"], last["actions"]) == (room, ["notify", SOUND])
    assert last["ts"] == last["event"]["origin_server_ts"]
    assert bodies(await listed(alice)) == ["an own one"]


async def test_pages(alice: Client, bob: Client) -> None:
    rooms = [await room_of_two(alice, bob) for _ in range(3)]
    expected: list[str] = []
    for number in range(10):
        await alice.send(rooms[number % 3 if number < 6 else 0], str(number))
        expected.insert(0, str(number))
    found = await pages(bob, limit=3)
    assert [bodies(page) for page in found] == [expected[:3], expected[3:6], expected[6:9], expected[9:]]
    assert [bodies(page) for page in await pages(bob, limit=5)] == [expected[:5], expected[5:]]
    assert bodies(await listed(bob, limit=0)) == ["9"]
    (await bob.get(NOTIFICATIONS, **{"from": "nowhere"})).error(400, "M_INVALID_PARAM")


async def test_pages_are_bounded_and_nothing_falls_between_them(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [await room_of_two(alice, bob) for _ in range(3)]
    for number in range(12):
        await alice.send(rooms[number % 3], str(number), msgtype="m.notice" if number % 4 else "m.text")
    monkeypatch.setattr(notifications, "AT_ONCE", 2)
    monkeypatch.setattr(notifications, "MOST_SCANNED", 6)
    found = await pages(bob, limit=2)
    assert [body for page in found for body in bodies(page)] == ["8", "4", "0"]
    assert len(found[0]) < 2


async def test_highlights_only(alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    await alice.send(room, "one")
    await alice.send(room, "you", **mentioning(user_ids=[bob.user_id]))
    await alice.send(room, "all", **mentioning(room=True))
    page = await listed(bob, only="highlight")
    assert bodies(page) == ["all", "you"]
    assert [each["actions"] for each in page] == [["notify", HIGHLIGHT], ["notify", SOUND, HIGHLIGHT]]
    assert bodies(await listed(bob, only="anything else")) == ["all", "you", "one"]


async def test_own_rules_count(alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    await alice.send(room, "heard")
    (await bob.put(path_of("pushrules", "global", "room", room), {"actions": []})).ok()
    await alice.send(room, "muted")
    assert bodies(await listed(bob)) == ["heard"]


async def test_actions_are_those_of_the_rule(
    server: TestServer, alice: Client, bob: Client, carol: Client
) -> None:
    room = await room_of_two(alice, bob)
    await carol.join(room)
    own: list[Any] = ["notify", {"set_tweak": "sound", "value": "bell"}, {"set_tweak": "org.example.colour"}]
    rule = path_of("pushrules", "global", "content", "cake")
    (await bob.put(rule, {"pattern": "cake", "actions": own})).ok()
    called = {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify", HIGHLIGHT, SOUND]}
    (await bob.put(path_of("pushrules", "global", "override", "called"), called)).ok()
    await alice.send(room, "hello")
    await alice.send(room, "there is cake")
    await alice.send(room, "bob, there is more")
    # Who may not say this to all says it to nobody.
    await carol.send(room, "all", **mentioning(room=True))
    await alice.invite(await alice.create_room(), bob.user_id)
    expected = [["notify", SOUND], ["notify"], ["notify", HIGHLIGHT, SOUND], own, ["notify"]]
    assert [each["actions"] for each in await listed(bob)] == expected


async def test_actions_of_rules_that_have_changed(alice: Client, bob: Client) -> None:
    """What the rules say by now is told only as far as it agrees with how the event did notify."""
    room = await room_of_two(alice, bob)
    await alice.send(room, "one")
    await alice.send(room, "you", **mentioning(user_ids=[bob.user_id]))
    assert [each["actions"] for each in await listed(bob)] == [
        ["notify", SOUND, HIGHLIGHT],
        ["notify", SOUND],
    ]
    (
        await bob.put(
            path_of("pushrules", "global", "override", ".m.rule.master", "enabled"), {"enabled": True}
        )
    ).ok()
    assert [each["actions"] for each in await listed(bob)] == [["notify", HIGHLIGHT], ["notify"]]


async def test_receipts_mark_them_as_read(alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    root = await alice.send(room, "one")
    relation: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    in_thread = await alice.send(room, "two", **relation)
    await alice.send(room, "three")

    async def read() -> dict[str, bool]:
        return {each["event"]["content"]["body"]: each["read"] for each in await listed(bob)}

    assert await read() == {"one": False, "two": False, "three": False}
    (await bob.post(room_path(room, "receipt", "m.read", in_thread), {"thread_id": root})).ok()
    assert await read() == {"one": False, "two": True, "three": False}
    (await bob.post(room_path(room, "receipt", "m.read.private", root))).ok()
    assert await read() == {"one": True, "two": True, "three": False}
    last = await alice.send(room, "four")
    (await bob.post(room_path(room, "receipt", "m.read", last))).ok()
    assert all((await read()).values())


async def test_invitations_and_rooms_that_are_left(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    await alice.send(room, "before")
    await alice.invite(room, bob.user_id)
    (invitation,) = await listed(bob)
    assert invitation["event"]["type"] == "m.room.member"
    assert invitation["event"]["content"]["membership"] == "invite"
    await alice.send(room, "not for the invited")
    assert len(await listed(bob)) == 1
    await bob.join(room)
    await alice.send(room, "here")
    assert bodies(await listed(bob)) == ["here"]
    await bob.leave(room)
    assert await listed(bob) == []


async def set_data(client: Client, kind: str, content: object) -> None:
    (await client.put(path_of("user", client.user_id, "account_data", kind), content)).ok()


async def ignore(client: Client, *others: str) -> None:
    await set_data(client, "m.ignored_user_list", {"ignored_users": {other: {} for other in others}})


async def test_nothing_of_ignored_users_is_listed(alice: Client, bob: Client, carol: Client) -> None:
    """Nor what there was before: "the client should either hide previous content ... or perform a new /sync"."""
    room = await room_of_two(alice, bob)
    await carol.join(room)
    for number in range(4):
        await alice.send(room, f"nasty {number}")
        await carol.send(room, f"kind {number}")
    await alice.invite(await alice.create_room(name="a nasty name"), bob.user_id)
    await carol.invite(await carol.create_room(), bob.user_id)
    kind = ["m.room.member", *(f"kind {number}" for number in reversed(range(4)))]
    assert len(await listed(bob)) == 10
    await ignore(bob, alice.user_id)
    assert bodies(await listed(bob)) == kind
    assert [body for page in await pages(bob, limit=2) for body in bodies(page)] == kind
    await ignore(bob, alice.user_id, carol.user_id)
    assert await pages(bob, limit=2) == [[]]
    await ignore(bob)
    assert len(await listed(bob)) == 10


async def test_blocked_invitations_are_not_listed(alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    await alice.send(room, "here")
    await alice.invite(await alice.create_room(), bob.user_id)
    await set_data(bob, "m.invite_permission_config", {"default_action": "block"})
    assert bodies(await listed(bob)) == ["here"]
    await set_data(bob, "m.invite_permission_config", {})
    assert bodies(await listed(bob)) == ["m.room.member", "here"]


async def test_a_redacted_event_is_not_listed(alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    event = await alice.send(room, "secret", **mentioning(user_ids=[bob.user_id]))
    await alice.send(room, "said")
    (await alice.put(room_path(room, "redact", event, "t"), {})).ok()
    assert bodies(await listed(bob)) == ["said"]


async def test_guests_have_none(guest: Client, server: TestServer) -> None:
    (await guest.get(NOTIFICATIONS)).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await server.anonymous().get(NOTIFICATIONS)).error(401, "M_MISSING_TOKEN")
