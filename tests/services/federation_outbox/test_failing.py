"""Servers that do not answer: left alone for longer and longer, and brought up to date when they are back."""

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.identifiers import ServerName, UserID
from homeserver.services.federation_outbox import catch_up, queues
from homeserver.storage import destinations
from tests.room_stories import say_many
from tests.services.federation_outbox.scene import ALICE, OutboxScene, Received, until

BOB, CAROL, DAVE = UserID("@bob:b"), UserID("@carol:c"), UserID("@dave:d")
B = ServerName("b")

HOUR_MS = 3_600_000


async def fail_twice(scene: OutboxScene) -> None:
    """The first attempt, and the second one after a short pause."""
    await scene.settle()
    scene.timers.advance(2.0)
    await scene.settle()


async def test_a_transaction_is_tried_once_more_as_it_is(scene: OutboxScene) -> None:
    """Server-server API, `PUT /send/{txnId}`: the same identifier, and the same content."""
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await room.say("one")
    await scene.settle()
    await room.say("two")
    await scene.settle()
    scene.network.down.clear()
    scene.timers.advance(2.0)
    await scene.settle()
    first, second, third = scene.network.attempts
    assert (first.txn_id, first.body) == (second.txn_id, second.body)
    assert third.txn_id != first.txn_id
    assert scene.network.texts("b") == ["one", "two"]
    assert await scene.row("b") is None


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_a_stop_does_not_wait_for_the_second_attempt(scene: OutboxScene, fails: str) -> None:
    """Whether the first one has failed before it or after it: no time passes, and the next process sends it."""
    room = await scene.room(BOB)
    scene.network.down.add("b")
    if fails == "after":
        scene.network.held["b"] = []
    await room.say("one")
    await scene.settle()
    assert len(scene.network.attempts) == 1
    stopping = Deferred.fromCoroutine(scene.outbox.stop())
    if fails == "after":
        scene.network.let_go("b")
    await until(lambda: stopping.called)
    assert scene.outbox.transactions == 0
    assert await scene.row("b") is None
    scene.network.down.clear()
    await scene.begin()
    await scene.settle()
    assert scene.network.texts("b") == ["one"]


async def test_a_dead_server_holds_no_memory(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL)
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    await say_many(room, [f"n{number}" for number in range(200)], ALICE)
    await scene.tick()
    assert len(scene.outbox.queues) == 0
    assert scene.outbox.queues.bytes == 0
    assert len(scene.network.texts("c")) == 201
    row = await scene.row("b")
    assert row is not None
    assert (row.failures, row.failing_since_ts) == (1, scene.clock.now_ts() - 1_000)
    assert row.last_error == "b: connection refused"


async def test_the_pauses_grow_up_to_a_day(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    pauses = []
    for _ in range(18):
        row = await scene.row("b")
        assert row is not None
        pause_ms = row.retry_ts - scene.clock.now_ts()
        pauses.append(pause_ms)
        scene.forget()
        await scene.pass_ms(pause_ms - 1_000)
        assert len(scene.network.attempts) == 1
    assert pauses[:3] == [10_000, 20_000, 40_000]
    assert pauses[-1] == 24 * HOUR_MS
    assert pauses == sorted(pauses)


async def test_a_server_that_is_back_gets_everything_in_order(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL)
    scene.network.down.add("b")
    for number in range(120):
        await room.say(f"n{number}")
    await fail_twice(scene)
    await room.say("later")
    await scene.settle()
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    await room.say("live again")
    await scene.settle()
    expected = [*(f"n{number}" for number in range(120)), "later", "live again"]
    assert scene.network.texts("b") == expected
    assert scene.network.texts("c") == expected
    row = await scene.row("b")
    assert row is not None
    assert (row.behind_from, row.failures, row.failing_since_ts) == (None, 0, None)
    assert row.last_success_ts is not None
    assert scene.outbox.queues.behind == {}


async def test_the_latest_rooms_come_first(scene: OutboxScene) -> None:
    rooms = [await scene.room(BOB, seed=f"room{number}") for number in range(4)]
    scene.network.down.add("b")
    for index in (2, 0, 3, 1):
        await rooms[index].say(f"in {index}")
        await rooms[index].say(f"again in {index}")
    await fail_twice(scene)
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    assert scene.network.texts("b") == [
        text for index in (1, 3, 0, 2) for text in (f"in {index}", f"again in {index}")
    ]


async def test_what_is_said_while_a_server_catches_up_comes_after(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await say_many(room, [f"n{number}" for number in range(130)], ALICE)
    await fail_twice(scene)
    scene.network.down.clear()
    scene.network.held["b"] = []
    await scene.pass_ms(HOUR_MS)
    assert len(scene.network.held["b"]) == 1, "it is being sent the first page"
    await room.say("meanwhile")
    await scene.settle()
    scene.network.let_go("b")
    await scene.settle()
    assert scene.network.texts("b") == [*(f"n{number}" for number in range(130)), "meanwhile"]
    assert scene.outbox.queues.behind == {}


async def test_of_a_room_with_very_much_the_newest_are_sent(
    scene: OutboxScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "MOST_PER_ROOM", 20)
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await say_many(room, [f"n{number}" for number in range(100)], ALICE)
    await fail_twice(scene)
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    assert scene.network.texts("b") == [f"n{number}" for number in range(80, 100)]


async def test_catching_up_that_breaks_off_goes_on_where_it_was(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    texts = [f"n{number}" for number in range(200)]
    await say_many(room, texts, ALICE)
    await fail_twice(scene)
    scene.network.down.clear()
    scene.network.refuses = lambda each: 502 if "n100" in each.texts else None
    await scene.pass_ms(HOUR_MS)
    assert scene.network.texts("b") == texts[:100]
    scene.network.refuses = lambda _: None
    await scene.pass_ms(HOUR_MS)
    assert scene.network.texts("b") == texts


async def test_a_server_is_not_sent_what_came_before_it_joined(scene: OutboxScene) -> None:
    """Also not when it catches up: it may not see that."""
    room = await scene.room(BOB, CAROL)
    secret = await scene.room(CAROL, seed="secret", visibility="joined")
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    await secret.say("secret")
    await secret.member(BOB, "join")
    await secret.say("for b, too")
    await scene.settle()
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    assert sorted(scene.network.texts("b")) == ["for b, too", "one"]


async def test_who_was_put_out_while_its_server_was_away_is_told(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    await room.member(BOB, "ban", by=ALICE)
    await scene.settle()
    await room.say("not for b")
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    # Nobody would give it afterwards what the ban stands on.
    assert scene.network.texts("b") == ["one", "m.room.member"]


async def test_who_came_and_was_put_out_while_its_server_was_away_gets_what_was_in_between(
    scene: OutboxScene,
) -> None:
    room = await scene.room(BOB, CAROL)
    secret = await scene.room(CAROL, seed="secret", visibility="joined")
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    await secret.say("before")
    await secret.member(BOB, "invite", by=ALICE)
    await secret.member(BOB, "join")
    await secret.say("between")
    await secret.member(BOB, "leave", by=ALICE)
    await secret.say("after")
    await scene.settle()
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    texts = scene.network.texts("b")
    assert {"one", "between"} <= set(texts)
    assert not {"before", "after"} & set(texts)


async def test_what_a_page_of_the_stream_has_from_before_an_expulsion(scene: OutboxScene) -> None:
    """Who is put out right after something was said gets that, too, as long as it was there."""
    room = await scene.room(BOB, CAROL)
    secret = await scene.room(CAROL, seed="secret", visibility="joined")
    scene.outbox._feed._reading = True  # it is busy with something
    await room.say("one")
    await room.member(BOB, "leave", by=ALICE)
    await room.say("two")
    await secret.say("before")
    await secret.member(BOB, "join")
    await secret.say("between")
    await secret.member(BOB, "ban", by=ALICE)
    scene.outbox._feed._reading = False
    await scene.settle()
    texts = scene.network.texts("b")
    assert [text for text in texts if text in ("one", "two", "before", "between")] == ["one", "between"]
    assert texts.count("m.room.member") == 2


async def test_a_server_that_is_heard_of_is_tried_at_once(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    scene.network.down.clear()
    scene.forget()
    await scene.outbox.heard_from(B)
    await scene.settle()
    assert scene.network.texts("b") == ["one"]


async def test_a_server_that_asks_but_does_not_answer_is_not_tried_all_the_time(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    scene.forget()
    for _ in range(10):
        await scene.outbox.heard_from(B)
        await scene.settle()
    assert len(scene.network.attempts) == 1
    row = await scene.row("b")
    assert row is not None
    assert row.failures == 2


async def test_an_operator_has_a_server_tried(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.down.add("b")
    await room.say("one")
    await fail_twice(scene)
    scene.network.down.clear()
    assert await scene.database.write(destinations.hasten, B)
    await scene.tick()
    assert scene.network.texts("b") == ["one"]


async def test_a_crash_loses_nothing(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL, DAVE)
    scene.network.held["c"] = []
    scene.network.down.add("d")
    for number in range(5):
        await room.say(f"n{number}")
        await fail_twice(scene)
        await scene.tick()
    assert scene.network.texts("b") == [f"n{number}" for number in range(5)]
    scene.network.held.clear()
    scene.network.down.clear()
    await scene.crash()
    await scene.settle()
    await scene.pass_ms(HOUR_MS)
    for name in ("c", "d"):
        assert list(dict.fromkeys(scene.network.texts(name))) == [f"n{number}" for number in range(5)]


async def test_what_has_been_noted_is_not_sent_again(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    await room.say("one")
    await scene.settle()
    await scene.tick()
    scene.forget()
    await scene.crash()
    await scene.settle()
    assert scene.network.attempts == []


async def test_a_crash_while_a_server_catches_up_loses_nothing(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL)
    scene.network.down.add("b")
    texts = [f"n{number}" for number in range(130)]
    await say_many(room, texts, ALICE)
    await fail_twice(scene)
    await scene.tick()
    scene.network.down.clear()
    scene.network.refuses = lambda each: 502 if "n100" in each.texts else None
    await scene.pass_ms(HOUR_MS)
    scene.network.refuses = lambda _: None
    await scene.crash()
    await scene.pass_ms(HOUR_MS)
    assert set(scene.network.texts("b")) == set(texts)
    assert scene.outbox.queues.behind == {}


async def test_who_is_too_slow_for_memory_is_served_from_the_database(
    scene: OutboxScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MOST_PDUS_WAITING", 100)
    room = await scene.room(BOB)
    scene.network.held["b"] = []
    texts = [f"n{number}" for number in range(400)]
    for start in range(0, 400, 40):
        await say_many(room, texts[start : start + 40], ALICE)
        await scene.settle()
        assert scene.outbox.queues.pdus <= 100
    row = await scene.row("b")
    assert row is not None
    assert (row.failures, row.retry_ts) == (0, 0)
    scene.network.let_go("b")
    await scene.settle()
    assert scene.network.texts("b") == texts
    assert scene.outbox.queues.behind == {}


async def test_memory_is_bounded_for_all_together(
    scene: OutboxScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MOST_BYTES_IN_ALL", 100_000)
    names = [f"server{number}" for number in range(10)]
    room = await scene.room(*(f"@u:{name}" for name in names))
    for name in names:
        scene.network.held[name] = []
    texts = [f"n{number}" for number in range(100)]
    for start in range(0, 100, 10):
        await say_many(room, texts[start : start + 10], ALICE)
        await scene.settle()
        assert scene.outbox.queues.bytes <= 100_000
    for name in names:
        scene.network.let_go(name)
    await scene.settle()
    assert all(scene.network.texts(name) == texts for name in names)


def without(*bad: str) -> object:
    """Refuses whatever has one of these messages in it."""

    def refuse(transaction: Received) -> int | None:
        return 400 if set(bad) & set(transaction.texts) else None

    return refuse


async def test_an_event_that_a_server_will_not_have_holds_up_nothing(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.held["b"] = []
    for number in range(10):
        await room.say(f"n{number}")
        await scene.settle()
    scene.network.refuses = without("n4")  # type: ignore[assignment]  # a test puts its own in the place
    scene.network.let_go("b")
    await scene.settle()
    await room.say("next")
    await scene.settle()
    assert scene.network.texts("b") == [*(f"n{number}" for number in range(10) if number != 4), "next"]
    assert len(scene.outbox.queues) == 0


async def test_a_server_that_refuses_everything_is_failing_and_nothing_is_dropped_for_good(
    scene: OutboxScene,
) -> None:
    room = await scene.room(BOB)
    scene.network.held["b"] = []
    for number in range(10):
        await room.say(f"n{number}")
        await scene.settle()
    scene.network.refuses = lambda _: 400
    scene.network.let_go("b")
    await scene.settle()
    row = await scene.row("b")
    assert row is not None
    assert row.failures == 1
    scene.network.refuses = lambda _: None
    await scene.pass_ms(HOUR_MS)
    assert len(scene.network.texts("b")) >= 8


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_these_say_that_the_server_is_in_trouble(scene: OutboxScene, status: int) -> None:
    room = await scene.room(BOB)
    scene.network.refuses = lambda _: status
    await room.say("one")
    await fail_twice(scene)
    row = await scene.row("b")
    assert row is not None
    assert row.failures == 1
    scene.network.refuses = lambda _: None
    await scene.pass_ms(HOUR_MS)
    assert scene.network.texts("b") == ["one"]


async def test_one_hour_of_many_rooms_is_caught_up(scene: OutboxScene) -> None:
    """The large one (10,000 events in 100 rooms) is `scripts/`' business; this one is the same in small."""
    rooms = [await scene.room(BOB, seed=f"room{number}") for number in range(10)]
    scene.network.down.add("b")
    await rooms[0].say("first")
    await fail_twice(scene)
    expected = {"first"}
    for number, room in enumerate(rooms):
        texts = [f"{number}-{count}" for count in range(30)]
        await say_many(room, texts, ALICE)
        expected |= set(texts)
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    texts_of_b = scene.network.texts("b")
    assert set(texts_of_b) == expected
    assert len(texts_of_b) == len(expected)
    for number in range(10):
        mine = [text for text in texts_of_b if text.startswith(f"{number}-")]
        assert mine == [f"{number}-{count}" for count in range(30)]
