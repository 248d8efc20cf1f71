"""What of a room's history another server is shown. Client-server API, "Room history visibility"."""

from typing import Final

import pytest

from tests.api.federation.asking import Asking, bodies
from tests.room_stories import Story

WHOLE: Final = "whole"
REDACTED: Final = "redacted"
NOTHING: Final = "nothing"

PHASES: Final = ("before", "invited", "joined", "after")


async def shown(asking: Asking, story: Story) -> dict[str, str]:
    """How each message is given by `/event`."""
    found = {}
    for text, event_id in story.said.items():
        pdu = await asking.event(event_id)
        found[text] = NOTHING if pdu is None else WHOLE if pdu["content"] else REDACTED
        assert pdu is None or pdu["content"] in ({}, {"msgtype": "m.text", "body": text})
    return found


async def in_backfill(asking: Asking, story: Story) -> list[str | None]:
    """How the messages are given by `/backfill`, oldest first."""
    last = list(story.said.values())[-1]
    answer = (await asking.get("backfill", story.room_id, v=last, limit=100)).ok()
    return bodies(reversed(answer["pdus"]))


async def in_missing(asking: Asking, story: Story) -> list[str | None]:
    """How the messages before the last one are given by `/get_missing_events`, oldest first."""
    last = list(story.said.values())[-1]
    body = {"earliest_events": [], "latest_events": [last], "limit": 100}
    answer = (await asking.post("get_missing_events", story.room_id, body=body)).ok()
    return bodies(answer["events"])


@pytest.mark.parametrize(
    ("visibility", "as_member", "as_former_member"),
    [
        ("world_readable", (WHOLE, WHOLE, WHOLE), (WHOLE, WHOLE, WHOLE, WHOLE)),
        ("shared", (WHOLE, WHOLE, WHOLE), (WHOLE, WHOLE, WHOLE, NOTHING)),
        ("invited", (REDACTED, WHOLE, WHOLE), (NOTHING, WHOLE, WHOLE, NOTHING)),
        ("joined", (REDACTED, REDACTED, WHOLE), (NOTHING, NOTHING, WHOLE, NOTHING)),
        (None, (WHOLE, WHOLE, WHOLE), (WHOLE, WHOLE, WHOLE, NOTHING)),
    ],
)
async def test_a_server_that_comes_and_goes(
    asking: Asking,
    visibility: str | None,
    as_member: tuple[str, ...],
    as_former_member: tuple[str, ...],
) -> None:
    story = await asking.room(visibility)
    bob = asking.user("bob")
    await story.say("before")
    outside = {"before": WHOLE if visibility == "world_readable" else NOTHING}
    assert await shown(asking, story) == outside
    await story.member(bob, "invite", by=asking.owner)
    await story.say("invited")
    assert (await shown(asking, story))["before"] == outside["before"]
    await story.member(bob, "join")
    await story.say("joined")
    assert await shown(asking, story) == dict(zip(PHASES, as_member, strict=False))
    expected = [text if how == WHOLE else None for text, how in zip(PHASES, as_member, strict=False)]
    assert await in_backfill(asking, story) == expected
    assert await in_missing(asking, story) == expected[:-1]
    await story.member(bob, "leave")
    await story.say("after")
    assert await shown(asking, story) == dict(zip(PHASES, as_former_member, strict=True))
    last = story.said["after"]
    (await asking.get("backfill", story.room_id, v=last, limit=9)).error(403, "M_FORBIDDEN")
    body = {"earliest_events": [], "latest_events": [last]}
    (await asking.post("get_missing_events", story.room_id, body=body)).error(403, "M_FORBIDDEN")


async def test_a_server_may_see_what_any_of_its_users_may(asking: Asking) -> None:
    story = await asking.room("joined")
    bob, carol = asking.user("bob"), asking.user("carol")
    await story.say("nobody")
    await story.member(bob, "join")
    await story.say("bob")
    await story.member(carol, "join")
    await story.say("both")
    await story.member(bob, "leave")
    await story.say("carol")
    assert await shown(asking, story) == {"nobody": REDACTED, "bob": WHOLE, "both": WHOLE, "carol": WHOLE}
    assert await in_backfill(asking, story) == [None, "bob", "both", "carol"]


async def test_users_of_other_servers_do_not_count(asking: Asking) -> None:
    """Neither those of a server whose name ends like the asking one's."""
    story = await asking.room("joined")
    await story.member(asking.user("bob")[:-1] + "0:" + asking.peer_name, "join")  # type: ignore[arg-type]  # what the test wants to be taken
    await story.say("hidden")
    await story.member(asking.user("bob"), "join")
    await story.say("seen")
    assert await shown(asking, story) == {"hidden": REDACTED, "seen": WHOLE}


async def test_a_change_of_the_visibility_counts_from_then_on(asking: Asking) -> None:
    story = await asking.room("joined")
    await story.say("hidden")
    opened = await story.set_visibility("world_readable")
    await story.say("open")
    closed = await story.set_visibility("joined")
    await story.say("hidden again")
    assert await shown(asking, story) == {"hidden": NOTHING, "open": WHOLE, "hidden again": NOTHING}
    for event_id in (opened, closed):
        pdu = await asking.event(event_id)
        assert pdu is not None
        assert pdu["content"]["history_visibility"] in ("world_readable", "joined")
    await story.member(asking.user("bob"), "join")
    assert await shown(asking, story) == {"hidden": REDACTED, "open": WHOLE, "hidden again": REDACTED}


async def test_a_server_sees_how_its_users_come_and_go(asking: Asking) -> None:
    story = await asking.room("joined")
    bob = asking.user("bob")
    joined = await story.member(bob, "join")
    left = await story.member(bob, "leave")
    for event_id, membership in ((joined, "join"), (left, "leave")):
        assert (await asking.event(event_id))["content"]["membership"] == membership
    others = await story.member(asking.owner, "leave")
    assert await asking.event(others) is None
