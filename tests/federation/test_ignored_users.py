"""Users of another server who are ignored. Client-server API, "Ignoring Users"."""

from typing import Any

from tests.api.server import path_of
from tests.federation.conftest import Two
from tests.federation.harness import until


async def test_ignored_users_of_another_server(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    carol = await two.other.user("carol")
    ignored = path_of("user", alice.user_id, "account_data", "m.ignored_user_list")
    (await alice.put(ignored, {"ignored_users": {bob.user_id: {}}})).ok()
    room = await alice.create_room(preset="public_chat")
    for client in (bob, carol):
        via = {"via": two.one.server_name}
        (await client.request("POST", path_of("join", room), {}, query=via)).ok()
    since = (await alice.sync())["next_batch"]
    await bob.send(room, "from bob")
    await carol.send(room, "from carol")
    bad, good = await bob.create_room(), await carol.create_room()
    await bob.invite(bad, alice.user_id)
    await carol.invite(good, alice.user_id)

    async def told() -> Any:
        answer = await alice.sync(since)
        rooms = answer.get("rooms", {})
        return rooms if good in rooms.get("invite", {}) and room in rooms.get("join", {}) else None

    rooms = await until(told, what="the message and the invitation")
    assert set(rooms["invite"]) == {good}
    timeline = rooms["join"][room]["timeline"]["events"]
    messages = [event["content"]["body"] for event in timeline if event["type"] == "m.room.message"]
    assert messages == ["from carol"]
    assert rooms["join"][room]["unread_notifications"]["notification_count"] == 1
    # The others see what she does not.
    assert await carol.messages_in(room) == ["from bob", "from carol"]
