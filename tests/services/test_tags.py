import pytest

from homeserver.core.errors import BadJson, Forbidden, InvalidParam, TooLarge
from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.database import Database
from homeserver.services.tags import Tags
from homeserver.storage import account_data
from tests.services.conftest import Commits, requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ROOM = RoomID("!room:test")


@pytest.fixture
def tags(database: Database) -> Tags:
    return Tags(database)


async def test_tags_are_added_replaced_and_removed(tags: Tags, database: Database, commits: Commits) -> None:
    alice = requester(ALICE)
    assert await tags.of_room(alice, ALICE, ROOM) == {}
    await tags.put(alice, ALICE, ROOM, "m.favourite", {"order": 0.1})
    await tags.put(alice, ALICE, ROOM, "u.Work", {"org.example": "kept"})
    await tags.put(alice, ALICE, ROOM, "m.favourite", {"order": 1})
    assert await tags.of_room(alice, ALICE, ROOM) == {
        "m.favourite": {"order": 1},
        "u.Work": {"org.example": "kept"},
    }
    assert await commits.take() == [{"user:@alice:test"}] * 3
    await tags.remove(alice, ALICE, ROOM, "u.Work")
    content = await database.read(account_data.of, ALICE, ROOM, "m.tag")
    assert content == b'{"tags":{"m.favourite":{"order":1}}}'


async def test_removing_what_is_not_there_changes_nothing(
    tags: Tags, database: Database, commits: Commits
) -> None:
    await tags.remove(requester(ALICE), ALICE, ROOM, "u.Work")
    assert await commits.take() == []
    assert await database.read(account_data.of, ALICE, ROOM, "m.tag") is None


async def test_account_data_that_are_no_tags_count_as_none(tags: Tags, database: Database) -> None:
    await database.write(account_data.put, ALICE, ROOM, "m.tag", b'{"tags":[1]}')
    assert await tags.of_room(requester(ALICE), ALICE, ROOM) == {}
    await tags.put(requester(ALICE), ALICE, ROOM, "u.Work", {})
    assert await tags.of_room(requester(ALICE), ALICE, ROOM) == {"u.Work": {}}


@pytest.mark.parametrize("order", ["0.5", True, {}])
async def test_an_order_is_a_number(tags: Tags, order: object) -> None:
    with pytest.raises(BadJson):
        await tags.put(requester(ALICE), ALICE, ROOM, "u.Work", {"order": order})  # type: ignore[dict-item]  # JSON


@pytest.mark.parametrize("order", [-0.1, 1.1, 2])
async def test_an_order_lies_between_0_and_1(tags: Tags, order: float) -> None:
    with pytest.raises(InvalidParam):
        await tags.put(requester(ALICE), ALICE, ROOM, "u.Work", {"order": order})


async def test_sizes_are_bounded(tags: Tags) -> None:
    """Client-server API, "Room Tagging": "The name of a tag MUST NOT exceed 255 bytes"."""
    await tags.put(requester(ALICE), ALICE, ROOM, "ä" * 127, {})
    with pytest.raises(InvalidParam):
        await tags.put(requester(ALICE), ALICE, ROOM, "ä" * 128, {})
    with pytest.raises(TooLarge):
        await tags.put(requester(ALICE), ALICE, ROOM, "u.Work", {"a": "x" * 65_536})
    assert await tags.of_room(requester(ALICE), ALICE, ROOM) == {"ä" * 127: {}}


async def test_the_tags_of_others_are_out_of_reach(tags: Tags) -> None:
    with pytest.raises(Forbidden):
        await tags.of_room(requester(BOB), ALICE, ROOM)
    with pytest.raises(Forbidden):
        await tags.put(requester(BOB), ALICE, ROOM, "u.Work", {})
    with pytest.raises(Forbidden):
        await tags.remove(requester(BOB), ALICE, ROOM, "u.Work")
