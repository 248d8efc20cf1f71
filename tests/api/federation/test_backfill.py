"""Server-server API, `backfill.yaml`."""

from typing import Any

import pytest

from homeserver.services.federation_history import MOST_BACKFILLED, MOST_MISSING, MOST_STARTS
from homeserver.storage import events
from tests.api.federation.asking import Asking, bodies, ids
from tests.room_stories import Story, say_many

UNKNOWN = "$" + "A" * 43


async def backfill(asking: Asking, story: Story, *event_ids: str, limit: int = 10) -> list[Any]:
    """The PDUs that are given."""
    answer = (await asking.get("backfill", story.room_id, v=event_ids, limit=limit)).ok()
    assert answer["origin"] == asking.server.server_name
    pdus: list[Any] = answer["pdus"]
    return pdus


async def missing(asking: Asking, story: Story, **asked: object) -> list[Any]:
    """The events that are given."""
    answer = (await asking.post("get_missing_events", story.room_id, body=asked)).ok()
    found: list[Any] = answer["events"]
    return found


@pytest.mark.parametrize("version", ["1", "6", "12"])
async def test_history_from_an_event_back(asking: Asking, version: str) -> None:
    story = await asking.shared_room(version=version)
    said = [await story.say(f"number {number}") for number in range(5)]
    pdus = await backfill(asking, story, said[3], limit=3)
    assert ids(pdus, version) == [said[3], said[2], said[1]]
    everything = await backfill(asking, story, said[4], limit=100)
    assert everything[-1]["type"] == "m.room.create"
    # Create, member, power levels, join rules, visibility, the other server's join.
    assert len(everything) == 6 + 5


async def test_several_events_to_begin_with(asking: Asking) -> None:
    story = await asking.shared_room()
    said = [await story.say(f"number {number}") for number in range(6)]
    assert ids(await backfill(asking, story, said[1], said[4], limit=4)) == [
        said[4], said[3], said[2], said[1],
    ]  # fmt: skip
    assert ids(await backfill(asking, story, said[4], said[4], UNKNOWN, limit=2)) == [said[4], said[3]]


async def test_what_is_not_known_is_left_out(asking: Asking) -> None:
    story = await asking.shared_room()
    secret = await asking.room("world_readable", seed="secret")
    event_id = await secret.say("secret")
    assert await backfill(asking, story, UNKNOWN) == []
    assert await backfill(asking, story, event_id) == []
    assert await missing(asking, story, earliest_events=[], latest_events=[UNKNOWN, event_id]) == []


async def test_rejected_events_are_left_out_and_what_precedes_them_is_not(asking: Asking) -> None:
    story = await asking.shared_room()
    await story.say("first")
    await say_many(story, ["rejected"], asking.owner, status=events.REJECTED)
    await say_many(story, ["failed"], asking.owner, status=events.SOFT_FAILED)
    await say_many(story, ["hidden"], asking.owner, status=events.HIDDEN)
    last = await story.say("last")
    assert bodies(await backfill(asking, story, last, limit=4)) == ["last", "hidden", "failed", "first"]
    found = await missing(asking, story, earliest_events=[], latest_events=[last], limit=3)
    assert bodies(found) == ["first", "failed", "hidden"]


async def test_limits_of_backfill(asking: Asking) -> None:
    story = await asking.shared_room()
    await say_many(story, [f"number {number}" for number in range(MOST_BACKFILLED + 10)], asking.owner)
    last = await story.say("last")
    assert len(await backfill(asking, story, last, limit=1)) == 1
    assert len(await backfill(asking, story, last, limit=10**9)) == MOST_BACKFILLED
    room = ("backfill", story.room_id)
    (await asking.get(*room, v=last, limit=0)).error(400, "M_INVALID_PARAM")
    (await asking.get(*room, v=last, limit=-1)).error(400, "M_INVALID_PARAM")
    (await asking.get(*room, v=last, limit="many")).error(400, "M_INVALID_PARAM")
    (await asking.get(*room, v="$a\0b", limit=1)).error(400, "M_INVALID_PARAM")
    (await asking.get(*room, v=last)).error(400, "M_MISSING_PARAM")
    (await asking.get(*room, limit=1)).error(400, "M_MISSING_PARAM")
    (await asking.get(*room, v=[last] * (MOST_STARTS + 1), limit=1)).error(400, "M_INVALID_PARAM")


async def test_missing_events_are_those_in_between(asking: Asking) -> None:
    story = await asking.shared_room()
    said = [await story.say(f"number {number}") for number in range(8)]
    found = await missing(asking, story, earliest_events=[said[1]], latest_events=[said[6]])
    assert ids(found) == said[2:6]
    found = await missing(asking, story, earliest_events=[said[1]], latest_events=[said[6]], limit=2)
    # Those next to the latest one.
    assert ids(found) == said[4:6]
    assert await missing(asking, story, earliest_events=[said[1]], latest_events=[said[6]], limit=0) == []
    assert await missing(asking, story, earliest_events=[said[5]], latest_events=[said[6]]) == []


async def test_missing_events_from_a_depth_on(asking: Asking) -> None:
    story = await asking.shared_room()
    said = [await story.say(f"number {number}") for number in range(6)]
    depth = (await asking.event(said[3]))["depth"]
    found = await missing(asking, story, earliest_events=[], latest_events=[said[5]], min_depth=depth)
    assert ids(found) == said[3:5]


async def test_limits_of_missing_events(asking: Asking) -> None:
    story = await asking.shared_room()
    await say_many(story, [f"number {number}" for number in range(MOST_MISSING + 10)], asking.owner)
    last = await story.say("last")
    assert len(await missing(asking, story, earliest_events=[], latest_events=[last])) == 10
    assert len(
        await missing(asking, story, earliest_events=[], latest_events=[last], limit=10**9)
    ) == MOST_MISSING  # fmt: skip
    room = ("get_missing_events", story.room_id)
    many = [f"${number:043}" for number in range(MOST_STARTS + 1)]
    for body, errcode in (
        ({"earliest_events": [], "latest_events": many}, "M_INVALID_PARAM"),
        ({"earliest_events": [], "latest_events": [last], "limit": -1}, "M_INVALID_PARAM"),
        ({"earliest_events": [], "latest_events": ["$a\0b"]}, "M_INVALID_PARAM"),
        ({"earliest_events": ["!room:x"], "latest_events": [last]}, "M_INVALID_PARAM"),
        ({"earliest_events": [], "latest_events": [last], "limit": "many"}, "M_BAD_JSON"),
        ({"earliest_events": [], "latest_events": last}, "M_BAD_JSON"),
        ({"earliest_events": [1], "latest_events": [last]}, "M_BAD_JSON"),
        ({"latest_events": [last]}, "M_BAD_JSON"),
    ):
        (await asking.post(*room, body=body)).error(400, errcode)
