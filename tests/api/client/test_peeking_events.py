"""Client-server API, `peeking_events.yaml`, and `getEvents` of `old_sync.yaml`, which has the same URL."""

from typing import Any

from twisted.internet.defer import Deferred

from homeserver.core.identifiers import RoomID, UserID
from tests.api.http_harness import until
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Answer, Reading
from tests.room_stories import Story, say_many


async def events(reading: Reading, *, by: UserID = ALICE, wait_ms: int = 0, **query: Any) -> Any:
    named = {{"start": "from"}.get(name, name): value for name, value in query.items()}
    answer = await reading.get("/events", {"timeout": wait_ms, **named}, by=by)
    assert answer.status == 200, answer
    return answer.body


def bodies(answer: Any) -> list[str]:
    return [event["content"].get("body", event["type"]) for event in answer["chunk"]]


async def listen(reading: Reading, by: UserID, **query: Any) -> Deferred[Answer]:
    """A request that waits, on a connection of its own."""
    client = await reading.server.connect()
    named = {{"start": "from"}.get(name, name): value for name, value in query.items()}
    answer = Deferred.fromCoroutine(reading.get_on(client, "/events", {"timeout": 50_000, **named}, by=by))
    await until(lambda: len(reading.waiters))
    return answer


async def test_a_guest_watches_a_room_from_outside(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    await story.say("before")
    answer = await reading.in_room(story.room_id, "initialSync", by=GUEST)
    token = answer.body["messages"]["end"]
    waiting = await listen(reading, GUEST, start=token, room_id=story.room_id)
    assert not waiting.called
    event_id = await story.say("hello")
    heard = (await waiting).body
    assert bodies(heard) == ["hello"]
    assert heard["chunk"][0]["event_id"] == event_id
    assert heard["chunk"][0]["room_id"] == story.room_id
    assert heard["start"] == token
    await story.say("more")
    assert bodies(await events(reading, by=GUEST, start=heard["end"], room_id=story.room_id)) == ["more"]


async def test_only_what_is_said_while_everybody_may_read_is_heard(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    token = f"s{await story.position()}"
    await story.set_visibility("shared")
    await story.say("secret")
    answer = await reading.get("/events", {"from": token, "room_id": story.room_id, "timeout": 0}, by=GUEST)
    assert answer.outcome == (403, "M_FORBIDDEN")
    await story.set_visibility("world_readable")
    await story.say("open")
    heard = await events(reading, by=GUEST, start=token, room_id=story.room_id)
    assert bodies(heard) == ["m.room.history_visibility", "m.room.history_visibility", "open"]


async def test_a_room_that_is_closed_meanwhile_is_heard_no_more(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    waiting = await listen(reading, GUEST, room_id=story.room_id)
    await story.set_visibility("joined")
    assert (await waiting).outcome == (403, "M_FORBIDDEN")
    assert not len(reading.waiters)


async def test_listening_begins_now_without_a_token(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    await story.say("before")
    heard = await events(reading, by=GUEST, room_id=story.room_id)
    assert heard["chunk"] == []
    assert heard["start"] == heard["end"] == f"s{await story.position()}"


async def test_nothing_happens_until_the_time_is_up(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    heard = await events(reading, by=GUEST, room_id=story.room_id, wait_ms=20)
    assert heard["chunk"] == []
    assert not len(reading.waiters)


async def test_the_rooms_of_a_user(reading: Reading) -> None:
    one = await reading.story().begin("shared", seed="one")
    two = await reading.story().begin("shared", seed="two")
    for story in (one, two):
        await story.member(ALICE, "join")
    other = await reading.story().begin("world_readable", seed="other")
    token = f"s{await one.position()}"
    await one.say("1")
    await two.say("2")
    await other.say("not hers")
    await one.say("3")
    heard = await events(reading, start=token)
    assert bodies(heard) == ["1", "2", "3"]
    assert [event["room_id"] for event in heard["chunk"]] == [one.room_id, two.room_id, one.room_id]
    waiting = await listen(reading, ALICE, start=heard["end"])
    await other.say("not hers either")
    await two.say("4")
    assert bodies((await waiting).body) == ["4"]


async def test_an_invite_wakes_who_has_no_room(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    waiting = await listen(reading, ALICE)
    await story.say("not yet")
    await story.member(ALICE, "invite", by=BOB)
    heard = (await waiting).body
    assert [event["content"]["membership"] for event in heard["chunk"]] == ["invite"]
    assert "not yet" not in str(heard)
    waiting = await listen(reading, ALICE, start=heard["end"])
    await story.member(ALICE, "join")
    heard = (await waiting).body
    assert [event["content"]["membership"] for event in heard["chunk"]] == ["join"]
    # From now on the room's messages wake, too.
    waiting = await listen(reading, ALICE, start=heard["end"])
    await story.say("welcome")
    assert bodies((await waiting).body) == ["welcome"]


async def test_who_is_removed_hears_that_and_nothing_more(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    waiting = await listen(reading, ALICE)
    await story.member(ALICE, "leave", by=BOB)
    heard = (await waiting).body
    assert [event["content"]["membership"] for event in heard["chunk"]] == ["leave"]
    await story.say("secret")
    assert (await events(reading, start=heard["end"]))["chunk"] == []
    assert (await events(reading, start=heard["end"], room_id=story.room_id))["chunk"] == []


async def test_many_events_come_in_parts_and_none_is_lost(reading: Reading) -> None:
    stories: list[Story] = []
    for seed in ("one", "two"):
        stories.append(await reading.story().begin("shared", seed=seed))
        await stories[-1].member(ALICE, "join")
    token = f"s{await stories[0].position()}"
    expected = []
    for part in range(4):
        for index, story in enumerate(stories):
            texts = [f"{part}-{index}-{number}" for number in range(45)]
            await say_many(story, texts, BOB)
            expected += texts
    heard: list[str] = []
    while True:
        answer = await events(reading, start=token)
        if not answer["chunk"]:
            break
        assert len(answer["chunk"]) <= 100
        assert answer["end"] != token
        heard += bodies(answer)
        token = answer["end"]
    assert heard == expected


async def test_what_is_refused(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    for room_id in (story.room_id, RoomID("!none:x")):
        for by in (ALICE, GUEST):
            answer = await reading.get("/events", {"room_id": room_id}, by=by)
            assert answer.outcome == (403, "M_FORBIDDEN")
        answer = await reading.get("/events", {"room_id": room_id}, by=None)
        assert answer.outcome == (401, "M_MISSING_TOKEN")
    for query in ({"from": "x"}, {"timeout": "long"}, {"room_id": "room"}):
        assert (await reading.get("/events", query)).outcome == (400, "M_INVALID_PARAM")


async def test_a_second_request_does_not_make_the_first_one_deaf(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    first = await listen(reading, ALICE)
    second = await listen(reading, ALICE)
    await until(lambda: len(reading.waiters) == 2)
    await story.say("hello")
    for waiting in (first, second):
        assert bodies((await waiting).body) == ["hello"]
