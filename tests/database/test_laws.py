"""Whatever functions are written together, the result is that of running them one after the other."""

import itertools
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from homeserver.core.errors import Forbidden
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.caches import Cache
from tests.database.conftest import Gate, outcome
from tests.database.notes import keep, kept, publish, published

_runs = itertools.count()

STEPS = ("keep", "publish", "publish new", "remember", "number", "look", "fail")
Step = tuple[str, int]


@attrs.frozen
class Function:
    """What a transaction function does, step by step."""

    steps: list[Step]
    durable: bool


@attrs.define
class World:
    """What is there after some functions."""

    kept: set[str] = attrs.field(factory=set)
    published: dict[str, int] = attrs.field(factory=dict)
    remembered: set[str] = attrs.field(factory=set)
    position: int = 0

    def after(self, steps: list[Step], prefix: str) -> "World | None":
        """The world after a function, `None` if it fails."""
        new = World(set(self.kept), dict(self.published), set(self.remembered), self.position)
        published: list[tuple[str, bool]] = []
        for step, number in steps:
            name = f"{prefix}{number}"
            if step == "fail" or (step == "keep" and name in new.kept):
                return None
            if step == "keep":
                new.kept.add(name)
            elif step == "remember":
                new.remembered.add(name)
            elif step.startswith("publish"):
                published.append((name, step == "publish new"))
        for name, is_new in published:
            if is_new and name in new.published:
                return None
            new.position += 1
            new.published[name] = new.position
        return new


def run(
    tx: WriteTransaction, steps: list[Step], prefix: str, cache: Cache[str, str], numbers: list[int]
) -> set[str]:
    for step, number in steps:
        name = f"{prefix}{number}"
        match step:
            case "keep":
                keep(tx, name)
            case "publish" | "publish new":
                publish(tx, name, new=step == "publish new")
            case "remember":
                tx.remember(cache, name, name)
            case "number":
                numbers.append(tx.new_nid())
            case "fail":
                raise Forbidden("as planned")
    return {name for name in kept(tx) if name.startswith(prefix)}


functions = st.builds(
    Function,
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=6),
    st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(functions, min_size=1, max_size=12))
async def test_together_is_as_one_after_the_other(single: Database, written: list[Function]) -> None:
    prefix = f"{next(_runs)}-"
    cache: Cache[str, str] = Cache(1_000)
    numbers: list[int] = []
    start = (await single.read(published))[0]
    world = World(position=start)
    gate = await Gate.close(single)
    pending: list[tuple[Deferred[Any], World | None, World]] = []
    for function in written:
        write = single.write if function.durable else single.write_soon
        deferred = write(run, function.steps, prefix, cache, numbers)
        after = world.after(function.steps, prefix)
        world = after or world
        pending.append((deferred, after, world))
    gate.open()
    await gate.passed
    for deferred, after, then in pending:
        result = await outcome(deferred)
        assert isinstance(result, Exception) if after is None else result == then.kept, result
    position, rows = await single.read(published, start)
    assert position == world.position
    assert {name: at for at, name in rows} == world.published
    assert {name for name in await single.read(kept) if name.startswith(prefix)} == world.kept
    remembered = {f"{prefix}{number}" for number in range(6) if cache.get(f"{prefix}{number}")}
    assert remembered == world.remembered
    assert len(set(numbers)) == len(numbers)
