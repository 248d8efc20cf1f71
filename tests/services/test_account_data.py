import pytest

from homeserver.core.errors import BadJson, Forbidden, InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.push_rules import UNMODIFIED
from homeserver.database.database import Database
from homeserver.services.account_data import MAX_CONTENT_BYTES, AccountData
from homeserver.storage import account_data as stored
from tests.services.conftest import requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ROOM = RoomID("!room:test")


@pytest.fixture
def account_data(database: Database) -> AccountData:
    return AccountData(database)


@pytest.mark.parametrize("room_id", [None, ROOM])
async def test_data_are_read_as_they_were_written(account_data: AccountData, room_id: RoomID | None) -> None:
    content: JsonObject = {"a": [1, 2.5, None], "ü": {"b": True}}
    await account_data.put(requester(ALICE), ALICE, room_id, "org.example", content)
    assert decode_object(await account_data.get(requester(ALICE), ALICE, room_id, "org.example")) == content


async def test_a_room_does_not_fall_back_to_the_account(account_data: AccountData) -> None:
    """Client-server API, "Client Config": "There is no inheritance mechanism here"."""
    await account_data.put(requester(ALICE), ALICE, None, "org.example", {})
    with pytest.raises(NotFound):
        await account_data.get(requester(ALICE), ALICE, ROOM, "org.example")


@pytest.mark.parametrize("room_id", [None, ROOM])
@pytest.mark.parametrize("type", ["m.fully_read", "m.push_rules"])
async def test_what_the_server_manages_cannot_be_set(
    account_data: AccountData, type: str, room_id: RoomID | None
) -> None:
    with pytest.raises(BadJson) as caught:
        await account_data.put(requester(ALICE), ALICE, room_id, type, {})
    assert caught.value.status == 405


async def test_what_the_server_manages_can_be_read(account_data: AccountData, database: Database) -> None:
    """Client-server API, "Client Config": "Servers must allow clients to read the above event types"."""
    rules = decode_object(await account_data.get(requester(ALICE), ALICE, None, "m.push_rules"))
    assert rules == {"global": UNMODIFIED.to_json(ALICE)}
    await database.write(stored.put, ALICE, ROOM, "m.fully_read", b'{"event_id":"$a"}')
    assert await account_data.get(requester(ALICE), ALICE, ROOM, "m.fully_read") == b'{"event_id":"$a"}'
    with pytest.raises(NotFound):
        await account_data.get(requester(ALICE), ALICE, ROOM, "m.push_rules")


async def test_the_data_of_others_are_out_of_reach(account_data: AccountData) -> None:
    await account_data.put(requester(BOB), BOB, None, "org.example", {})
    with pytest.raises(Forbidden):
        await account_data.get(requester(ALICE, is_admin=True), BOB, None, "org.example")
    with pytest.raises(Forbidden):
        await account_data.put(requester(ALICE), BOB, ROOM, "org.example", {})


async def test_sizes_are_bounded(account_data: AccountData) -> None:
    alice = requester(ALICE)
    await account_data.put(alice, ALICE, None, "ä" * 127, {"a": "x" * (MAX_CONTENT_BYTES - 8)})
    with pytest.raises(TooLarge):
        await account_data.put(alice, ALICE, None, "a", {"a": "x" * (MAX_CONTENT_BYTES - 7)})
    for name in ("", "ä" * 128):
        with pytest.raises(InvalidParam):
            await account_data.put(alice, ALICE, None, name, {})
