"""The EDUs of a transaction go where they belong, and none is in another's way."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from homeserver.core.identifiers import ServerName
from homeserver.database.errors import StorageUnavailable
from homeserver.services.federation_edus.service import MOST_EDUS, FederationEdus

ORIGIN = ServerName("other.example")


@attrs.define
class Taker:
    """Takes EDUs, or fails."""

    error: Exception | None = None
    taken: list[object] = attrs.field(factory=list)

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        assert origin == ORIGIN
        if self.error is not None:
            raise self.error
        self.taken += contents


def edu(edu_type: object, content: object) -> dict[str, Any]:
    return {"edu_type": edu_type, "content": content}


async def test_each_kind_gets_its_own_in_order() -> None:
    one, other = Taker(), Taker()
    edus = [edu("one", 1), edu("other", 2), edu("one", 3)]
    await FederationEdus({"one": one, "other": other}).receive(ORIGIN, edus)
    assert (one.taken, other.taken) == ([1, 3], [2])


@pytest.mark.parametrize(
    "odd", [{}, {"edu_type": "unknown", "content": {}}, {"edu_type": 5}, {"edu_type": ["one"]}]
)
async def test_what_is_unknown_is_ignored(odd: dict[str, Any]) -> None:
    one = Taker()
    await FederationEdus({"one": one}).receive(ORIGIN, [odd, edu("one", 1)])
    assert one.taken == [1]


async def test_no_more_are_taken_than_a_transaction_may_have() -> None:
    one = Taker()
    await FederationEdus({"one": one}).receive(
        ORIGIN, [edu("one", number) for number in range(MOST_EDUS + 1)]
    )
    assert one.taken == list(range(MOST_EDUS))


async def test_a_fault_in_one_kind_leaves_the_others_alone() -> None:
    """Otherwise the other server would repeat the transaction for ever."""
    broken, other = Taker(RuntimeError("a bug")), Taker()
    await FederationEdus({"broken": broken, "other": other}).receive(
        ORIGIN, [edu("broken", 1), edu("other", 2)]
    )
    assert other.taken == [2]


async def test_what_could_not_be_stored_is_not_acknowledged() -> None:
    """Reliability P5: an acknowledged transaction is durable."""
    full, other = Taker(StorageUnavailable("the disk is full")), Taker()
    with pytest.raises(StorageUnavailable):
        await FederationEdus({"full": full, "other": other}).receive(
            ORIGIN, [edu("full", 1), edu("other", 2)]
        )
    assert other.taken == [2]
