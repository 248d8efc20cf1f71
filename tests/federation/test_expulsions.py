"""Users who are put out of a room while their server is away: it learns of that, whatever came before."""

import pytest

from tests.api.server import room_path
from tests.federation.conftest import Two
from tests.federation.harness import cut, mend, until
from tests.federation.meetings import join_via, sees


@pytest.mark.parametrize("how", ["kick", "ban"])
async def test_a_server_that_was_away_learns_that_its_user_was_put_out(two: Two, how: str) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    await sees(alice, room, bob.user_id, "join")
    outbox = two.one.running.server.services.outbox
    cut(two.one, two.other)
    await alice.send(room, "one")

    async def is_away() -> bool:
        return two.other.server_name in outbox.queues.behind

    await until(is_away, what="that the other server is away is noted")
    await alice.send(room, "two")
    (await alice.post(room_path(room, how), {"user_id": bob.user_id})).ok()
    await alice.send(room, "not for Bob")
    mend(two.one, two.other)
    outbox.heard_of(two.other.server_name)

    async def knows() -> bool:
        synced = await bob.sync(filter={"room": {"include_leave": True}})
        return room in synced.get("rooms", {}).get("leave", {})

    await until(knows, what="Bob's server knows that he is out")
    assert await bob.messages_in(room) == ["one", "two"]
