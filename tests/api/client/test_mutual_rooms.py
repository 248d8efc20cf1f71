"""Client-server API, `mutual_rooms.yaml`."""

import pytest

from homeserver.services import mutual_rooms
from tests.api.server import SERVER_NAME, Answer, Client, path_of


async def ask(client: Client, user_id: str, **query: object) -> Answer:
    return await client.get(path_of("mutual_rooms", version="v1"), user_id=user_id, **query)


async def test_rooms_that_both_are_in(alice: Client, bob: Client, carol: Client) -> None:
    rooms = [await alice.create_room(preset="public_chat") for _ in range(4)]
    for room in rooms[:3]:
        await bob.join(room)
    await carol.join(rooms[3])
    await bob.leave(rooms[1])
    invited = await alice.create_room()
    await alice.invite(invited, bob.user_id)
    for one, other in ((alice, bob), (bob, alice)):
        found = (await ask(one, other.user_id)).ok()
        assert (set(found["joined"]), found["count"]) == ({rooms[0], rooms[2]}, 2)
        assert "next_batch" not in found
    assert (await ask(bob, carol.user_id)).ok() == {"joined": [], "count": 0}
    for nobody in (f"@nobody:{SERVER_NAME}", "@nobody:example.org"):
        assert (await ask(bob, nobody)).ok() == {"joined": [], "count": 0}


async def test_pages(alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual_rooms, "MOST_AT_ONCE", 2)
    rooms = {await alice.create_room(preset="public_chat") for _ in range(5)}
    for room in rooms:
        await bob.join(room)
    found: list[str] = []
    answer = (await ask(alice, bob.user_id)).ok()
    for _ in range(2):
        assert (len(answer["joined"]), answer["count"]) == (2, 5)
        found += answer["joined"]
        answer = (await ask(alice, bob.user_id, **{"from": answer["next_batch"]})).ok()
    assert "next_batch" not in answer
    assert {*found, *answer["joined"]} == rooms
    assert len(found) == 4


async def test_questions_that_make_no_sense(alice: Client, bob: Client) -> None:
    (await ask(alice, alice.user_id)).error(400, "M_INVALID_PARAM")
    (await ask(alice, "bob")).error(400, "M_INVALID_PARAM")
    (await alice.get(path_of("mutual_rooms", version="v1"))).error(400, "M_MISSING_PARAM")
    for place in ("", "x", "-1", "\u0661", "9" * 19):
        (await ask(alice, bob.user_id, **{"from": place})).error(400, "M_INVALID_PARAM")
