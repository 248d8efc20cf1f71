"""Client-server API, `to_device.yaml` and "Extensions to /sync": what is sent to a device, it gets until it has it."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.config.sections import RateLimits
from homeserver.core.rate_limit import RateLimit
from tests.api.server import Client, TestServer, path_of
from tests.api.tables import count
from tests.to_device import TYPE, events_in, put_messages, send_all, send_to, texts_in

FEW = {"room": {"timeline": {"limit": 1}}}


def waiting(client: Client, since: str) -> "Deferred[Any]":
    """A sync that waits."""
    return Deferred.fromCoroutine(client.sync(since, timeout=20_000))


@pytest.mark.parametrize(
    ("event_type", "content"),
    [
        ("m.room_key_request", {"action": "request", "request_id": "1"}),
        ("org.example.empty", {}),
        ("ünï/cödé %2F ?#&", {"ключ": '\u2028 \x00\\u0000 \x1f\\" ﷽ \U0010ffff', "": [None, 0.5, {}]}),
    ],
)
async def test_what_is_sent_arrives(alice: Client, bob: Client, event_type: str, content: Any) -> None:
    since = (await bob.sync())["next_batch"]
    messages = {bob.user_id: {bob.device_id: content}}
    assert (await put_messages(alice, messages, event_type=event_type)).ok() == {}
    expected = [{"type": event_type, "sender": alice.user_id, "content": content}]
    assert events_in(await bob.sync(since)) == expected
    assert events_in(await bob.sync()) == expected
    assert events_in(await bob.sync(since, full_state="true")) == expected
    assert events_in(await alice.sync()) == []


async def test_messages_come_in_order_until_the_next_token_proves_receipt(alice: Client, bob: Client) -> None:
    first = (await bob.sync())["next_batch"]
    await send_all(alice, bob, range(5))
    answer = await bob.sync(first)
    assert texts_in(answer) == [*range(5)]
    # The answer was lost.
    assert texts_in(await bob.sync(first)) == [*range(5)]
    await send_to(alice, bob, 5)
    second = await bob.sync(answer["next_batch"])
    assert texts_in(second) == [5]
    # Only what came up to that token has been received.
    assert texts_in(await bob.sync(first)) == [5]
    assert texts_in(await bob.sync()) == [5]
    assert texts_in(await bob.sync(second["next_batch"])) == []
    assert texts_in(await bob.sync(first)) == []
    assert texts_in(await bob.sync()) == []


@pytest.mark.parametrize("is_first", [True, False])
async def test_many_come_in_batches_at_once(alice: Client, bob: Client, *, is_first: bool) -> None:
    """None of 250 is lost or skipped, whatever happens between the batches."""
    since = None if is_first else (await bob.sync())["next_batch"]
    room = await bob.create_room()
    for start in range(0, 250, 50):
        await send_all(alice, bob, range(start, start + 50))
    sizes, seen = [], []
    for number in range(3):
        answer = await bob.sync(since, timeout=20_000)
        # The same again: nothing proves that it has arrived.
        assert texts_in(await bob.sync(since)) == texts_in(answer)
        sizes.append(len(texts_in(answer)))
        seen += texts_in(answer)
        since = answer["next_batch"]
        await bob.send(room, f"event {number}")
    assert (sizes, seen) == ([100, 100, 50], [*range(250)])
    assert texts_in(await bob.sync(since)) == []


async def test_a_token_between_batches_is_good_everywhere(alice: Client, bob: Client) -> None:
    room = await bob.create_room()
    event_id = await bob.send(room, "event")
    await send_all(alice, bob, range(101))
    token = (await bob.sync())["next_batch"]
    assert "~" in token
    page = (await bob.get(path_of("rooms", room, "messages"), dir="b", limit=1, **{"from": token})).ok()
    assert page["chunk"][0]["event_id"] == event_id
    (await bob.get(path_of("rooms", room, "members"), at=token)).ok()
    (await bob.get(path_of("events"), timeout=0, **{"from": token})).ok()
    (await bob.get(path_of("notifications"), **{"from": token})).ok()
    for bad in ("s1~", "s1~-1", "s1~01", "s1~1~1", "~1", "s1_1~1", "s1~9999999999999999999", "s1~1_1_1"):
        (await bob.get(path_of("sync"), since=bad)).error(400, "M_INVALID_PARAM")


async def test_large_messages_come_in_smaller_batches(alice: Client, bob: Client) -> None:
    texts = [f"{number}" + "x" * 59_000 for number in range(30)]
    await send_all(alice, bob, texts)
    answer = await bob.sync()
    seen = texts_in(answer)
    assert 10 < len(seen) < 20
    while "~" in answer["next_batch"]:
        answer = await bob.sync(answer["next_batch"], timeout=20_000)
        seen += texts_in(answer)
    assert seen == texts


async def test_devices_get_what_is_for_them_and_nothing_else(
    server: TestServer, alice: Client, bob: Client
) -> None:
    other = await server.device(bob)
    messages = {bob.user_id: {bob.device_id: {"text": "one"}, other.device_id: {"text": "two"}}}
    (await put_messages(alice, messages)).ok()
    assert texts_in(await bob.sync()) == ["one"]
    answer = await other.sync()
    assert texts_in(answer) == ["two"]
    await other.sync(answer["next_batch"])
    assert texts_in(await other.sync()) == []
    assert texts_in(await bob.sync()) == ["one"]


async def test_a_star_stands_for_all_devices(server: TestServer, alice: Client, bob: Client) -> None:
    others = [await server.device(bob) for _ in range(2)]
    messages = {
        bob.user_id: {"*": {"text": "all"}, others[0].device_id: {"text": "one"}},
        alice.user_id: {"*": {"text": "own"}},
    }
    (await put_messages(alice, messages)).ok()
    assert [texts_in(await each.sync()) for each in (bob, *others)] == [["all"], ["one"], ["all"]]
    assert texts_in(await alice.sync()) == ["own"]


async def test_a_repeated_transaction_id_sends_once(server: TestServer, alice: Client, bob: Client) -> None:
    for text in ("one", "another"):
        messages = {bob.user_id: {bob.device_id: {"text": text}}}
        assert (await put_messages(alice, messages, txn_id="t")).ok() == {}
    assert texts_in(await bob.sync()) == ["one"]
    # Of another type, or from another device, it is another transaction.
    messages = {bob.user_id: {bob.device_id: {"text": "two"}}}
    (await put_messages(alice, messages, txn_id="t", event_type="org.example.other")).ok()
    (await put_messages(await server.device(alice), messages, txn_id="t")).ok()
    assert texts_in(await bob.sync()) == ["one", "two", "two"]


async def test_who_does_not_exist_is_sent_nothing(server: TestServer, alice: Client, bob: Client) -> None:
    messages = {
        bob.user_id: {"GONE": {}, bob.device_id: {"text": "there"}, "": {}},
        "@nobody:test.example": {"*": {}, "DEVICE": {}},
    }
    (await put_messages(alice, messages)).ok()
    assert texts_in(await bob.sync()) == ["there"]
    later = await server.device(bob)
    assert texts_in(await later.sync()) == []


async def test_a_device_that_is_removed_leaves_nothing(
    server: TestServer, alice: Client, bob: Client
) -> None:
    other = await server.device(bob)
    await send_to(alice, other, "lost")
    (await other.post(path_of("logout"))).ok()
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": bob.user_id},
        "password": "a password of the tests",
        "device_id": other.device_id,
    }
    again = (await server.anonymous().post(path_of("login"), body)).ok()
    other.access_token = again["access_token"]
    assert texts_in(await other.sync()) == []
    await send_to(alice, other, "new")
    assert texts_in(await other.sync()) == ["new"]


async def test_a_closed_account_gets_nothing(server: TestServer, alice: Client, bob: Client) -> None:
    await send_to(alice, bob, "waits")
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": bob.user_id},
        "password": "a password of the tests",
    }
    (await bob.post(path_of("account", "deactivate"), {"auth": auth})).ok()
    (await put_messages(alice, {bob.user_id: {"*": {}, bob.device_id: {}}})).ok()
    for table in ("to_device_messages", "to_device_shares"):
        assert await rows_of(server, table) == 0


async def rows_of(server: TestServer, table: str) -> int:
    """How many rows a table has."""
    return await server.server.database.read(count, table)


async def test_a_waiting_sync_is_answered_at_once_and_only_that_of_the_device(
    server: TestServer, alice: Client, bob: Client
) -> None:
    other = await server.device(bob)
    since, others = (await bob.sync())["next_batch"], (await other.sync())["next_batch"]
    mine, not_mine = waiting(bob, since), waiting(other, others)
    for number in range(3):
        await send_to(alice, bob, number)
        answer = await mine
        assert texts_in(answer) == [number]
        mine = waiting(bob, answer["next_batch"])
    assert not not_mine.called
    await send_to(alice, other, "yours")
    assert texts_in(await not_mine) == ["yours"]
    await send_to(alice, bob, "end")
    assert texts_in(await mine) == ["end"]


async def test_messages_and_events_come_together(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    for number in range(10):
        await send_to(alice, bob, number)
        await alice.send(room, f"event {number}")
    texts: list[Any] = []
    bodies: list[str] = []
    while len(texts) < 10 or len(bodies) < 10:
        answer = await bob.sync(since, timeout=20_000)
        since = answer["next_batch"]
        texts += texts_in(answer)
        joined = answer.get("rooms", {}).get("join", {}).get(room, {"timeline": {"events": []}})
        bodies += [event["content"]["body"] for event in joined["timeline"]["events"]]
    assert texts == [*range(10)]
    assert bodies == [f"event {number}" for number in range(10)]


async def test_two_syncs_of_a_device_at_once(alice: Client, bob: Client) -> None:
    since = (await bob.sync())["next_batch"]
    both = [waiting(bob, since), waiting(bob, since)]
    await send_to(alice, bob, "hello")
    answers = [await each for each in both]
    assert [texts_in(answer) for answer in answers] == [["hello"], ["hello"]]
    await bob.sync(answers[0]["next_batch"])
    assert texts_in(await bob.sync(since)) == []


async def test_ignored_users_are_not_heard(alice: Client, bob: Client, carol: Client) -> None:
    """ "Once ignored, the client will no longer receive events sent by that user"; at once, and not later either."""
    since = (await bob.sync())["next_batch"]
    await send_to(alice, bob, "before")
    path = path_of("user", bob.user_id, "account_data", "m.ignored_user_list")
    (await bob.put(path, {"ignored_users": {alice.user_id: {}}})).ok()
    await send_to(alice, bob, "ignored")
    await send_to(carol, bob, "heard")
    answer = await bob.sync(since)
    assert texts_in(answer) == ["heard"]
    await send_all(alice, bob, range(101))
    answer = await bob.sync(answer["next_batch"])
    assert "~" in answer["next_batch"], "more may come"
    answer = await bob.sync(answer["next_batch"], timeout=200)
    (await bob.put(path, {"ignored_users": {}})).ok()
    await send_to(alice, bob, "again")
    assert texts_in(await bob.sync(answer["next_batch"])) == ["again"]


async def test_guests_send_and_receive(guest: Client, bob: Client) -> None:
    await send_to(guest, bob, "from a guest")
    await send_to(bob, guest, "to a guest")
    assert texts_in(await bob.sync()) == ["from a guest"]
    assert texts_in(await guest.sync()) == ["to a guest"]


async def test_who_is_suspended_talks_to_own_devices_only(
    server: TestServer, alice: Client, bob: Client
) -> None:
    """ "Verify other devices" must remain possible."""
    other = await server.device(alice)
    await server.restrict(alice, "is_suspended")
    await send_to(alice, other, "verify me")
    assert texts_in(await other.sync()) == ["verify me"]
    (await put_messages(alice, {bob.user_id: {"*": {}}})).error(403, "M_USER_SUSPENDED")
    assert texts_in(await bob.sync()) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_BAD_JSON"),
        ({"messages": None}, "M_BAD_JSON"),
        ({"messages": {"@bob:test.example": {"D": "text"}}}, "M_BAD_JSON"),
        ({"messages": {"@bob:test.example": []}}, "M_BAD_JSON"),
        ({"messages": {"bob": {"*": {}}}}, "M_INVALID_PARAM"),
        ({"messages": {"@bob": {"*": {}}}}, "M_INVALID_PARAM"),
        ({"messages": {"@bob:test.example": {"x" * 256: {}}}}, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_malformed_is_refused(alice: Client, body: Any, errcode: str) -> None:
    (await alice.put(path_of("sendToDevice", TYPE, "t"), body)).error(400, errcode)


async def test_what_is_too_large_is_refused_as_a_whole(alice: Client, bob: Client) -> None:
    good = {bob.device_id: {"text": "good"}}
    messages = {bob.user_id: good, alice.user_id: {"*": {"text": "x" * 60_000}}}
    (await put_messages(alice, messages)).error(413, "M_TOO_LARGE")
    many: dict[str, Any] = {f"D{number}": {} for number in range(10_001)}
    (await put_messages(alice, {bob.user_id: many | good})).error(413, "M_TOO_LARGE")
    (await put_messages(alice, {bob.user_id: good}, event_type="x" * 256)).error(400, "M_INVALID_PARAM")
    (await put_messages(alice, {bob.user_id: good}, event_type="x\0")).error(400, "M_INVALID_PARAM")
    assert texts_in(await bob.sync()) == []


def test_a_large_room_is_shared_a_key_at_once() -> None:
    """A thousand devices in batches of twenty, and another time soon after."""
    bucket = RateLimits().to_device
    rate = RateLimit.of(per_second=bucket.per_second, burst=bucket.burst)
    cell, waits = None, []
    for _ in range(100):
        cell, wait_ms = rate.take(cell, 0)
        waits.append(wait_ms)
    assert set(waits) == {0}
