"""What a transaction function cannot do itself is done for it, and the function run again."""

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail

from homeserver.database.database import Database
from homeserver.database.errors import Obstacle
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from tests.database.notes import keep, kept


@attrs.frozen(slots=False, eq=False)
class Locked(Obstacle):
    door: str


@attrs.define
class Doors:
    opened: set[str] = attrs.field(factory=set)
    cleared: list[str] = attrs.field(factory=list)

    def enter(self, tx: WriteTransaction, *doors: str) -> str:
        for door in doors:
            keep(tx, door)
            if door not in self.opened:
                raise Locked(door)
        return "inside"

    def clear(self, obstacle: Obstacle, again: Any) -> Deferred[Any]:
        assert isinstance(obstacle, Locked)
        self.cleared.append(obstacle.door)
        self.opened.add(obstacle.door)
        return again().addErrback(lambda failure: self.clear(failure.value, again))  # type: ignore[no-any-return]  # mypy cannot tell


def _kept(tx: ReadTransaction) -> list[str]:
    return sorted(kept(tx))


async def test_the_function_is_run_again_once_the_obstacle_is_gone(database: Database) -> None:
    doors = Doors()
    database.clear = doors.clear
    assert await database.write(doors.enter, "one", "two") == "inside"
    assert doors.cleared == ["one", "two"]
    assert await database.read(_kept) == ["one", "two"]
    assert await database.write(doors.enter) == "inside"
    assert doors.cleared == ["one", "two"]


async def test_an_obstacle_that_stays_is_an_error_and_nothing_is_kept(database: Database) -> None:
    doors = Doors()
    with pytest.raises(Locked):
        await database.write(doors.enter, "one")
    database.clear = lambda _, __: fail(LookupError("no key"))
    with pytest.raises(LookupError):
        await database.write(doors.enter, "one")
    assert await database.read(_kept) == []


async def test_other_errors_are_nobody_elses_business(database: Database) -> None:
    def broken(tx: WriteTransaction) -> None:
        raise ValueError("a bug")

    doors = Doors()
    database.clear = doors.clear
    with pytest.raises(ValueError, match="a bug"):
        await database.write(broken)
    assert doors.cleared == []
