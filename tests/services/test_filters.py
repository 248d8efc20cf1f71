import pytest

from homeserver.core.errors import BadJson, Forbidden, NotFound, TooLarge
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, decode_object
from homeserver.database.database import Database
from homeserver.services.filters import Filters
from tests.services.conftest import requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
FILTER: JsonObject = {"room": {"timeline": {"limit": 10}}, "org.example.unknown": 1}


@pytest.fixture
def filters(database: Database) -> Filters:
    return Filters(database)


async def test_a_filter_is_given_back_as_it_was_uploaded(filters: Filters) -> None:
    filter_id = await filters.add(requester(ALICE), ALICE, FILTER)
    assert not filter_id.startswith("{")
    assert decode_object(await filters.get(requester(ALICE), ALICE, filter_id)) == FILTER


async def test_the_same_filter_has_the_same_id(filters: Filters) -> None:
    first = await filters.add(requester(ALICE), ALICE, FILTER)
    again = await filters.add(requester(ALICE), ALICE, dict(reversed(FILTER.items())))
    other = await filters.add(requester(ALICE), ALICE, {})
    assert first == again != other


async def test_only_filters_are_kept(filters: Filters) -> None:
    with pytest.raises(BadJson):
        await filters.add(requester(ALICE), ALICE, {"room": {"timeline": {"limit": "ten"}}})
    with pytest.raises(TooLarge):
        await filters.add(requester(ALICE), ALICE, {"org.example": "x" * 65_536})


async def test_the_filters_of_others_are_out_of_reach(filters: Filters) -> None:
    filter_id = await filters.add(requester(ALICE), ALICE, FILTER)
    with pytest.raises(Forbidden):
        await filters.get(requester(BOB), ALICE, filter_id)
    with pytest.raises(NotFound):
        await filters.get(requester(BOB), BOB, filter_id)
    with pytest.raises(Forbidden):
        await filters.add(requester(BOB), ALICE, FILTER)
