"""Steps in a public room: joining, history, messages, state, and what is said beside the events."""

import time
from typing import Any

from interop_lib.clients import Client, StepError, both
from interop_lib.scene import Scene, step

OLD_MESSAGES = 30
JOIN = "join by alias"


@step("a room to begin with")
async def make_room(scene: Scene) -> None:
    alice = scene.alice
    scene.rooms["main"] = room_id = await alice.create_room(
        scene.version,
        preset="public_chat",
        visibility="public",
        name=f"Room {scene.tag}",
        room_alias_name=f"room-{scene.tag}",
    )
    for number in range(OLD_MESSAGES):
        text = f"old {number} of {scene.tag}"
        await alice.send(room_id, text)
        scene.history.append(text)
    await alice.until(lambda: alice.room(room_id).membership == "join", "her own room")


@step("public rooms of the other server", "a room to begin with")
async def public_rooms(scene: Scene) -> None:
    answer = await scene.bob.post(
        "publicRooms", body={"filter": {"generic_search_term": scene.tag}}, server=scene.alice.server_name
    )
    found = [room for room in answer["chunk"] if room["room_id"] == scene.main]
    if not found or found[0]["name"] != f"Room {scene.tag}":
        raise StepError(f"the room is not in the list: {answer}")


@step("profile of a user there")
async def remote_profile(scene: Scene) -> None:
    await scene.alice.put("profile", scene.alice.user_id, "displayname", body={"displayname": "Alice A."})
    answer = await scene.bob.get("profile", scene.alice.user_id)
    if answer.get("displayname") != "Alice A.":
        raise StepError(f"the profile is {answer}")


@step(JOIN, "a room to begin with")
async def join_by_alias(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.main
    await bob.join(f"#room-{scene.tag}:{alice.server_name}")
    view = bob.room(room_id)
    if view.content("m.room.name").get("name") != f"Room {scene.tag}":
        raise StepError(f"the joiner's state lacks the room's name: {sorted(view.state)}")
    if view.membership_of(alice.user_id) != "join":
        raise StepError("the joiner does not see the creator as a member")
    await sees_membership(alice, room_id, bob, "join")


@step("backfill: all messages from before the join", JOIN)
async def backfill(scene: Scene) -> None:
    bob = scene.bob
    bodies = await bob.bodies_back_from(scene.main, None)
    if bodies != scene.history[::-1]:
        raise StepError(
            f"{len(bodies)} of {len(scene.history)} old messages, or not in order: {bodies[:3]}..."
        )


@step("event by timestamp", JOIN)
async def timestamp(scene: Scene) -> None:
    async def first(client: Client) -> Any:
        return await client.request(
            "GET", "rooms", scene.main, "timestamp_to_event", version="/_matrix/client/v1", ts=1, dir="f"
        )

    ours, theirs = (await first(scene.bob))["event_id"], (await first(scene.alice))["event_id"]
    if ours != theirs:
        raise StepError(f"the first event is {ours} here, {theirs} there")


@step("message to the joiner", JOIN)
async def message_out(scene: Scene) -> None:
    event_id = await scene.alice.send(scene.main, "hello from the room's server")
    await sees_event(scene.bob, scene.main, event_id)


@step("message from the joiner", JOIN)
async def message_in(scene: Scene) -> None:
    event_id = await scene.bob.send(scene.main, "hello from the other server")
    await sees_event(scene.alice, scene.main, event_id)


@step("20 messages of each at the same time", "message to the joiner", "message from the joiner")
async def messages_at_once(scene: Scene) -> None:
    sent: set[str] = set()

    async def talk(client: Client) -> None:
        for number in range(20):
            sent.add(await client.send(scene.main, f"number {number} of {client.user_id}"))

    await both(talk(scene.alice), talk(scene.bob))
    for client in (scene.alice, scene.bob):
        room = client.room(scene.main)
        await client.until(lambda room=room: all(map(room.has, sent)), f"all {len(sent)} messages")


@step("state to the joiner", JOIN)
async def state_out(scene: Scene) -> None:
    await scene.alice.set_state(scene.main, "m.room.topic", {"topic": "from there"})
    await sees_state(scene.bob, scene.main, "m.room.topic", "topic", "from there")


@step("power levels", JOIN)
async def power_levels(scene: Scene) -> None:
    levels = await scene.alice.state(scene.main, "m.room.power_levels")
    levels.setdefault("users", {})[scene.bob.user_id] = 50
    await scene.alice.set_state(scene.main, "m.room.power_levels", levels)
    await scene.bob.until(
        lambda: (
            scene.bob.room(scene.main).content("m.room.power_levels").get("users", {}).get(scene.bob.user_id)
            == 50
        ),
        "his power level",
    )


@step("state from the joiner", "power levels")
async def state_in(scene: Scene) -> None:
    await scene.bob.set_state(scene.main, "m.room.topic", {"topic": "from here"})
    await sees_state(scene.alice, scene.main, "m.room.topic", "topic", "from here")


@step("redaction by the room's side", "message to the joiner")
async def redaction_out(scene: Scene) -> None:
    await redact(scene.main, scene.alice, scene.bob)


@step("redaction by the joiner", "message from the joiner")
async def redaction_in(scene: Scene) -> None:
    await redact(scene.main, scene.bob, scene.alice)


@step("redaction of the other side's message", "power levels", "message to the joiner")
async def redaction_of_others(scene: Scene) -> None:
    event_id = await scene.alice.send(scene.main, "to be redacted by a moderator")
    await sees_event(scene.bob, scene.main, event_id)
    await scene.bob.redact(scene.main, event_id)
    await sees_redacted(scene.alice, scene.main, event_id)


@step("receipt to the joiner", "message from the joiner")
async def receipt_out(scene: Scene) -> None:
    await receipt(scene.main, sender=scene.bob, reader=scene.alice)


@step("receipt from the joiner", "message to the joiner")
async def receipt_in(scene: Scene) -> None:
    await receipt(scene.main, sender=scene.alice, reader=scene.bob)


@step("typing to the joiner", JOIN)
async def typing_out(scene: Scene) -> None:
    await typing(scene.main, scene.alice, scene.bob)


@step("typing from the joiner", JOIN)
async def typing_in(scene: Scene) -> None:
    await typing(scene.main, scene.bob, scene.alice)


@step("presence to the joiner", JOIN)
async def presence_out(scene: Scene) -> None:
    await presence(scene.alice, scene.bob)


@step("presence from the joiner", JOIN)
async def presence_in(scene: Scene) -> None:
    await presence(scene.bob, scene.alice)


@step("profile change to the joiner", JOIN)
async def profile_out(scene: Scene) -> None:
    await profile(scene.main, scene.alice, scene.bob)


@step("profile change from the joiner", JOIN)
async def profile_in(scene: Scene) -> None:
    await profile(scene.main, scene.bob, scene.alice)


async def sees_event(client: Client, room_id: str, event_id: str) -> None:
    await client.until(lambda: client.room(room_id).has(event_id), f"the event {event_id}")


async def sees_membership(client: Client, room_id: str, of: Client, membership: str) -> None:
    await client.until(
        lambda: client.room(room_id).membership_of(of.user_id) == membership,
        f"{of.user_id.partition(':')[0]} with membership {membership}",
    )


async def sees_state(client: Client, room_id: str, event_type: str, key: str, value: str) -> None:
    await client.until(
        lambda: client.room(room_id).content(event_type).get(key) == value, f"{event_type}: {value}"
    )


async def sees_redacted(client: Client, room_id: str, event_id: str) -> None:
    deadline = time.monotonic() + 15
    while (await client.get("rooms", room_id, "event", event_id))["content"]:
        if time.monotonic() > deadline:
            raise StepError("the event is not redacted there")
        await client.sync()


async def redact(room_id: str, by: Client, seen_by: Client) -> None:
    event_id = await by.send(room_id, "to be redacted")
    await sees_event(seen_by, room_id, event_id)
    await by.redact(room_id, event_id)
    await sees_redacted(seen_by, room_id, event_id)


async def receipt(room_id: str, sender: Client, reader: Client) -> None:
    event_id = await sender.send(room_id, "to be read")
    await sees_event(reader, room_id, event_id)
    await reader.post("rooms", room_id, "receipt", "m.read", event_id)
    await sender.until(
        lambda: sender.room(room_id).receipts.get(reader.user_id) == event_id, "the other's receipt"
    )


async def typing(room_id: str, by: Client, seen_by: Client) -> None:
    async def type_(what: bool) -> None:
        body: dict[str, object] = {"typing": what, "timeout": 30_000} if what else {"typing": False}
        await by.put("rooms", room_id, "typing", by.user_id, body=body)

    await type_(True)  # noqa: FBT003 - as above
    await seen_by.until(lambda: by.user_id in seen_by.room(room_id).typing, "that the other types")
    await type_(False)  # noqa: FBT003 - as above
    await seen_by.until(
        lambda: by.user_id not in seen_by.room(room_id).typing, "that the other types no longer"
    )


async def presence(of: Client, seen_by: Client) -> None:
    status = f"status {time.time_ns()}"
    await of.put("presence", of.user_id, "status", body={"presence": "online", "status_msg": status})
    await seen_by.until(
        lambda: seen_by.presence.get(of.user_id, {}).get("status_msg") == status, "the other's status message"
    )


async def profile(room_id: str, of: Client, seen_by: Client) -> None:
    name = f"Name {time.time_ns()}"
    await of.put("profile", of.user_id, "displayname", body={"displayname": name})
    await seen_by.until(
        lambda: seen_by.room(room_id).content("m.room.member", of.user_id).get("displayname") == name,
        "the other's new name",
    )
