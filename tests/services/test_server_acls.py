"""Server-server API, "Server Access Control Lists (ACLs)": by the room's current state."""

import pytest

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.draft import Draft
from homeserver.services.server_acls import is_allowed
from homeserver.storage import rooms
from tests.room_stories import Story

OWNER = UserID("@owner:x")
EVIL = ServerName("evil.example")
GOOD = ServerName("good.example:8448")


def _allowed(tx: ReadTransaction, room_id: RoomID, server_name: ServerName) -> bool:
    room = rooms.of(tx, room_id)
    assert room is not None
    return is_allowed(tx, room, server_name)


async def allowed(story: Story, server_name: ServerName) -> bool:
    return await story.database.read(_allowed, story.room_id, server_name)


@pytest.fixture
async def story(database: Database) -> Story:
    return await Story(database, OWNER).begin("shared")


async def test_a_room_without_a_list_allows_everybody(story: Story) -> None:
    assert await allowed(story, EVIL)


async def test_the_list_of_the_current_state_counts(story: Story) -> None:
    await story.set("m.room.server_acl", {"allow": ["*"], "deny": ["evil.example"]})
    assert not await allowed(story, EVIL)
    assert await allowed(story, GOOD)
    await story.set("m.room.server_acl", {"allow": ["evil.*"]})
    assert await allowed(story, EVIL)
    assert not await allowed(story, GOOD)


async def test_a_list_with_another_state_key_is_none(story: Story) -> None:
    await story.set("m.room.server_acl", {"allow": []}, "elsewhere")
    assert await allowed(story, EVIL)


async def test_a_redacted_list_allows_nobody(story: Story) -> None:
    """Redaction takes the lists away: "otherwise, deny" is what is left. What was compiled counts no more."""
    acl = await story.set("m.room.server_acl", {"allow": ["*"]})
    assert await allowed(story, GOOD)
    await story.add(Draft(OWNER, "m.room.redaction", {}, redacts=acl))
    assert not await allowed(story, GOOD)


async def test_each_list_is_compiled_once(story: Story) -> None:
    await story.set("m.room.server_acl", {"allow": ["*"]})
    assert await allowed(story, GOOD)
    (compiled,) = story.database.caches.server_acls._entries.values()
    assert await allowed(story, EVIL)
    (again,) = story.database.caches.server_acls._entries.values()
    assert again is compiled
