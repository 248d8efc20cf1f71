"""What a reader gets at the beginning of the history that is here, where there is more elsewhere."""

import json
from typing import Any

import attrs
import pytest
from sqlalchemy import update

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.database import Database
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events as events_table
from homeserver.database.transactions import WriteTransaction
from homeserver.services.backfill import Progress
from homeserver.services.event_context import EventContexts
from homeserver.services.timelines import MOST_BACKFILLS, Direction, Timelines
from homeserver.storage import backward_extremities, events
from tests.room_stories import Story
from tests.services.conftest import MovableClock, requester

OWNER = UserID("@owner:x")

FORGET = statement(
    update(events_table)
    .where(events_table.c.type != "m.room.message", in_list(events_table.c.room_nid, "room_nids"))
    .values(status=events.OUTLIER, position=None, state_root=None, root_after=None)
)


@attrs.define
class Scripted:
    """What comes of each attempt to fetch history; nothing is ever fetched."""

    progress: list[Progress] = attrs.field(factory=list)
    asked: int = 0

    async def extend(self, room_id: RoomID, gap: int) -> Progress:
        del room_id, gap
        self.asked += 1
        return self.progress.pop(0)


def lose_the_beginning(tx: WriteTransaction, first: EventID) -> None:
    """All that is not a message is known as state only; something is missing before the first message."""
    stored = events.of(tx, first)
    assert stored is not None
    tx.execute(FORGET, room_nids=[stored.room_nid])
    assert stored.position is not None
    backward_extremities.add(
        tx, stored.room_nid, stored.event_nid, [EventID("$missing")], position=stored.position, places=0
    )


@pytest.fixture
async def story(database: Database) -> Story:
    story = await Story(database, OWNER).begin("shared")
    first = await story.say("first")
    await story.say("second")
    await database.write(lose_the_beginning, first)
    return story


async def page(
    timelines: Timelines, story: Story, limit: int = 10, start: int | None = None, stop: int | None = None
) -> Any:
    body = await timelines.page(
        requester(OWNER),
        story.room_id,
        direction=Direction.BACKWARDS,
        start=start,
        stop=stop,
        limit=limit,
        filter=None,
    )
    return json.loads(body)


def position(token: str) -> int:
    return int(token[1:])


async def test_history_that_cannot_be_had(database: Database, clock: MovableClock, story: Story) -> None:
    older = Scripted([Progress.NONE, Progress.NONE])
    timelines = Timelines(database, clock, older)
    found = await page(timelines, story)
    assert [event["content"]["body"] for event in found["chunk"]] == ["second", "first"]
    # It may be had another time; but an empty page is the last.
    rest = await page(timelines, story, start=position(found["end"]))
    assert rest["chunk"] == []
    assert "end" not in rest
    assert older.asked == 2


async def test_history_that_is_on_its_way(database: Database, clock: MovableClock, story: Story) -> None:
    timelines = Timelines(database, clock, Scripted([Progress.UNDERWAY, Progress.UNDERWAY]))
    found = await page(timelines, story)
    rest = await page(timelines, story, start=position(found["end"]))
    assert rest["chunk"] == []
    assert rest["end"] == found["end"]


async def test_history_of_which_nothing_can_be_shown(
    database: Database, clock: MovableClock, story: Story
) -> None:
    older = Scripted([Progress.MORE] * 10)
    await page(Timelines(database, clock, older), story)
    assert older.asked == MOST_BACKFILLS[Direction.BACKWARDS]


async def test_who_does_not_get_there_asks_nobody(
    database: Database, clock: MovableClock, story: Story
) -> None:
    older = Scripted()
    timelines = Timelines(database, clock, older)
    assert len((await page(timelines, story, limit=2))["chunk"]) == 2
    assert len((await page(timelines, story, limit=1))["chunk"]) == 1
    first = await story.position_of(story.said["first"])
    assert len((await page(timelines, story, stop=first))["chunk"]) == 1
    contexts = EventContexts(database, clock, older)
    await contexts.around(requester(OWNER), story.room_id, story.said["second"], limit=2, filter=None)


async def test_the_context_of_the_first_event(database: Database, clock: MovableClock, story: Story) -> None:
    older = Scripted([Progress.MORE])
    contexts = EventContexts(database, clock, older)
    body = await contexts.around(requester(OWNER), story.room_id, story.said["first"], limit=4, filter=None)
    assert json.loads(body)["events_before"] == []
    assert older.asked == 1


async def test_a_room_that_is_here_from_its_beginning(database: Database, clock: MovableClock) -> None:
    story = await Story(database, OWNER).begin("shared")
    await story.say("first")
    assert "end" not in await page(Timelines(database, clock, Scripted()), story, limit=100)
