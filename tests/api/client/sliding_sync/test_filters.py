"""MSC4186, `SlidingRoomFilter`: which rooms belong to a list."""

from typing import Any

import attrs
import pytest

from tests.api.client.sliding_sync.harness import Sliding, old_list, one_list
from tests.api.server import Client, path_of

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


@attrs.frozen
class Rooms:
    """Rooms of all sorts, by name."""

    alice: Client
    ids: dict[str, str]

    async def passing(self, **filters: Any) -> set[str]:
        answer = await Sliding(self.alice).ask(lists=one_list(limit=0, **filters))
        assert answer["lists"]["all"]["count"] == len(answer["rooms"])
        return {name for name, room in self.ids.items() if room in answer["rooms"]}


@pytest.fixture
async def rooms(alice: Client, bob: Client) -> Rooms:
    dm = await alice.create_room()
    (await alice.put(path_of("user", alice.user_id, "account_data", "m.direct"), {bob.user_id: [dm]})).ok()
    secret = await alice.create_room(initial_state=[ENCRYPTION])
    other = await alice.create_room(creation_content={"type": "org.example.type"})
    space = await alice.create_room(creation_content={"type": "m.space"})
    foreign_space = await bob.create_room(creation_content={"type": "m.space"}, preset="public_chat")
    invitation = await bob.create_room(initial_state=[ENCRYPTION])
    await bob.invite(invitation, alice.user_id)
    via = {"via": ["test.example"]}
    await alice.set_state(space, "m.space.child", via, dm)
    await alice.set_state(space, "m.space.child", {}, secret)
    await bob.set_state(foreign_space, "m.space.child", via, other)
    for room, tag in ((dm, "u.a"), (secret, "u.a"), (secret, "u.b")):
        (await alice.put(path_of("user", alice.user_id, "rooms", room, "tags", tag))).ok()
    ids = {"dm": dm, "secret": secret, "other": other, "space": space, "invitation": invitation}
    return Rooms(alice, ids | {"foreign space": foreign_space})


async def test_every_filter(rooms: Rooms) -> None:
    everything = {"dm", "secret", "other", "space", "invitation"}
    assert await rooms.passing() == everything
    assert await rooms.passing(is_dm=True) == {"dm"}
    assert await rooms.passing(is_dm=False) == everything - {"dm"}
    assert await rooms.passing(is_invited=True) == {"invitation"}
    assert await rooms.passing(is_invited=False) == everything - {"invitation"}
    assert await rooms.passing(is_encrypted=True) == {"secret", "invitation"}
    assert await rooms.passing(is_encrypted=False) == {"dm", "other", "space"}
    assert await rooms.passing(room_types=["m.space", "org.example.type"]) == {"space", "other"}
    assert await rooms.passing(room_types=[None]) == {"dm", "secret", "invitation"}
    assert await rooms.passing(not_room_types=["m.space"]) == everything - {"space"}
    assert await rooms.passing(room_types=["m.space"], not_room_types=["m.space", None]) == set()
    assert await rooms.passing(tags=["u.a"]) == {"dm", "secret"}
    assert await rooms.passing(tags=["u.a"], not_tags=["u.b"]) == {"dm"}
    assert await rooms.passing(not_tags=["u.a"]) == everything - {"dm", "secret"}
    # Children count that have a `via`, of spaces that the user is in.
    spaces = [rooms.ids["space"], rooms.ids["foreign space"], "!unknown:x"]
    assert await rooms.passing(spaces=spaces) == {"dm"}
    assert await rooms.passing(is_encrypted=True, is_invited=False, tags=["u.b"]) == {"secret"}
    # The unstable form calls one of them otherwise; what nobody knows is ignored.
    answer = await Sliding(rooms.alice).ask_old(lists=old_list(is_invite=True, is_tombstoned=False))
    assert set(answer["rooms"]) == {rooms.ids["invitation"]}


async def test_a_room_enters_and_leaves_a_list_as_its_state_changes(rooms: Rooms) -> None:
    alice, client = rooms.alice, Sliding(rooms.alice)
    answer = await client.ask(lists=one_list(is_encrypted=False, is_invited=False))
    assert set(answer["rooms"]) == {rooms.ids[name] for name in ("dm", "other", "space")}
    await alice.set_state(rooms.ids["other"], "m.room.encryption", ENCRYPTION["content"])
    answer = await client.ask(lists=one_list(is_encrypted=False, is_invited=False))
    assert answer["rooms"] == {}
    assert answer["lists"]["all"]["count"] == 2
    answer = await client.ask(lists=one_list(is_encrypted=True, is_invited=False))
    assert set(answer["rooms"]) == {rooms.ids["other"], rooms.ids["secret"]}
    assert "initial" not in answer["rooms"][rooms.ids["other"]]
