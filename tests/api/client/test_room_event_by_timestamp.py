"""Client-server API, `room_event_by_timestamp.yaml`."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID
from homeserver.rooms.draft import Draft
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Answer, Reading
from tests.room_stories import Story, say_many


async def conversation(reading: Reading, visibility: str = "shared") -> tuple[Story, list[int]]:
    """Alice joins and five things are said; the times of these."""
    story = await reading.story().begin(visibility)
    await story.member(ALICE, "join")
    times = []
    for number in range(5):
        await story.say(str(number))
        times.append(story.ts)
    return story, times


async def nearest(reading: Reading, story: Story, ts: object, dir: str) -> Answer:
    return await reading.in_room(story.room_id, "timestamp_to_event", version="v1", ts=ts, dir=dir)


async def test_the_nearest_event_in_a_direction(reading: Reading) -> None:
    story, times = await conversation(reading)
    for ts, where, text in (
        (times[2], "f", "2"),
        (times[2], "b", "2"),
        (times[2] - 1, "f", "2"),
        (times[2] - 1, "b", "1"),
        (times[2] + 1, "f", "3"),
        (times[4] + 10**9, "b", "4"),
    ):
        answer = await nearest(reading, story, ts, where)
        number = int(text)
        assert answer.body == {"event_id": story.said[text], "origin_server_ts": times[number]}


async def test_times_without_events(reading: Reading) -> None:
    story, times = await conversation(reading)
    for ts, where in ((times[4] + 1, "f"), (0, "b"), (-(2**63) + 1, "b"), (2**63 - 1, "f")):
        assert (await nearest(reading, story, ts, where)).outcome == (404, "M_NOT_FOUND")
    first = await nearest(reading, story, 0, "f")
    event = await reading.in_room(story.room_id, f"event/{first.body['event_id']}")
    assert event.body["type"] == "m.room.create"


async def test_what_may_not_be_seen_is_passed_over(reading: Reading) -> None:
    story = await reading.story().begin("joined")
    before = story.ts
    for text in ("x", "y"):
        await story.say(text)
    joined = await story.member(ALICE, "join")
    said = await story.say("seen")
    await story.member(ALICE, "leave")
    await story.say("z")
    assert (await nearest(reading, story, before + 1, "f")).body["event_id"] == joined
    seen_ts = (await nearest(reading, story, story.ts - 2_000, "b")).body
    assert seen_ts["event_id"] == said
    left = (await nearest(reading, story, story.ts, "b")).body["event_id"]
    event = await reading.in_room(story.room_id, f"event/{left}")
    assert event.body["content"]["membership"] == "leave"
    assert (await nearest(reading, story, story.ts - 500, "f")).outcome == (404, "M_NOT_FOUND")


async def test_long_parts_that_may_not_be_seen(reading: Reading) -> None:
    story = await reading.story().begin("joined")
    story.ts += 1_000
    start = story.ts
    await say_many(story, [str(number) for number in range(1_500)], BOB)
    joined = await story.member(ALICE, "join")
    await story.say("seen")
    left = await story.member(ALICE, "leave")
    story.ts += 5_000
    await say_many(story, [str(number) for number in range(1_500)], BOB)
    assert (await nearest(reading, story, story.ts, "b")).body["event_id"] == left
    assert (await nearest(reading, story, start, "f")).body["event_id"] == joined
    await story.member(ALICE, "join")
    again = await story.say("again")
    found = await nearest(reading, story, story.ts - 500, "f")
    assert found.body["event_id"] == again


async def test_the_clocks_of_others_do_not_order_the_answer(reading: Reading) -> None:
    story, times = await conversation(reading)
    late = await story.add(Draft(BOB, "m.room.message", {"body": "late"}, origin_server_ts=times[1] + 500))
    assert (await nearest(reading, story, times[1] + 1, "f")).body["event_id"] == late
    assert (await nearest(reading, story, times[2] - 1, "b")).body["event_id"] == late


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"ts": 1}, "M_MISSING_PARAM"),
        ({"dir": "f"}, "M_MISSING_PARAM"),
        ({"ts": "now", "dir": "f"}, "M_INVALID_PARAM"),
        ({"ts": 10**30, "dir": "f"}, "M_INVALID_PARAM"),
        ({"ts": 1, "dir": "x"}, "M_INVALID_PARAM"),
    ],
)
async def test_what_makes_no_sense_is_refused(reading: Reading, query: dict[str, Any], errcode: str) -> None:
    story, _ = await conversation(reading)
    answer = await reading.in_room(story.room_id, "timestamp_to_event", version="v1", **query)
    assert answer.outcome == (400, errcode)


async def test_who_may_not_read_learns_nothing(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    for room_id in (story.room_id, RoomID("!none:x")):
        for by, outcome in (
            (ALICE, (403, "M_FORBIDDEN")),
            (GUEST, (403, "M_GUEST_ACCESS_FORBIDDEN")),
            (None, (401, "M_MISSING_TOKEN")),
        ):
            answer = await reading.in_room(room_id, "timestamp_to_event", version="v1", by=by, ts=1, dir="f")
            assert answer.outcome == outcome
