"""Steps about who is in a room: kicks and bans, leaving, invitations, knocks, restricted rooms, upgrades."""

from interop_lib.clients import Client, RefusedError, StepError
from interop_lib.scene import Scene, SkippedError, step
from interop_lib.talking import JOIN, sees_event, sees_membership

INVITE = "invite"
MEANWHILE = [f"meanwhile {number}" for number in range(5)]


@step("a second joiner", JOIN)
async def second_joiner(scene: Scene) -> None:
    await scene.carol.join(scene.main, via=scene.alice.server_name)
    await sees_membership(scene.alice, scene.main, scene.carol, "join")


@step("kick of the other side's user, who comes back", "a second joiner")
async def kick(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.main
    await alice.act(room_id, "kick", carol.user_id)
    await carol.until(lambda: carol.room(room_id).membership == "leave", "that she is out")
    await carol.join(room_id, via=alice.server_name)
    await sees_membership(alice, room_id, carol, "join")


@step("ban of the other side's user", "a second joiner")
async def ban(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.main
    await alice.act(room_id, "ban", carol.user_id)
    await carol.until(lambda: carol.room(room_id).membership == "leave", "that she is out")
    await sees_membership(scene.bob, room_id, carol, "ban")
    await is_refused(carol, room_id, via=alice.server_name)


@step("unban, and back again", "ban of the other side's user")
async def unban(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.main
    await alice.act(room_id, "unban", carol.user_id)
    await sees_membership(scene.bob, room_id, carol, "leave")
    await carol.join(room_id, via=alice.server_name)
    await sees_membership(alice, room_id, carol, "join")


@step("ban by the joiner", "power levels")
async def ban_by_joiner(scene: Scene) -> None:
    bob, dora, room_id = scene.bob, scene.dora, scene.main
    await dora.join(room_id)
    await sees_membership(bob, room_id, dora, "join")
    await bob.act(room_id, "ban", dora.user_id)
    await dora.until(lambda: dora.room(room_id).membership == "leave", "that she is out")
    await sees_membership(scene.alice, room_id, dora, "ban")


@step("leave", JOIN)
async def leave(scene: Scene) -> None:
    for client in (scene.bob, scene.carol):
        if client.room(scene.main).membership == "join":
            await client.leave(scene.main)
        await sees_membership(scene.alice, scene.main, client, "leave")


@step("back after the server was out", "leave")
async def back_again(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.main
    for text in MEANWHILE:
        await alice.send(room_id, text)
    await bob.join(room_id, via=alice.server_name)
    await sees_event(bob, room_id, await alice.send(room_id, "welcome back"))
    await sees_event(alice, room_id, await bob.send(room_id, "here I am"))


@step("what was said while the server was out", "back after the server was out")
async def said_meanwhile(scene: Scene) -> None:
    bodies = await scene.bob.bodies_back_from(scene.main, None, most_pages=2)
    if bodies[:7] != ["here I am", "welcome back", *MEANWHILE[::-1]]:
        raise StepError(f"the newest messages are {bodies[:7]}")


@step(INVITE)
async def invite(scene: Scene) -> None:
    alice, bob = scene.alice, scene.bob
    scene.rooms["private"] = room_id = await alice.create_room(
        scene.version, preset="private_chat", name=f"Private {scene.tag}"
    )
    await alice.act(room_id, "invite", bob.user_id)
    await sees_invite(bob, room_id, alice, f"Private {scene.tag}")


@step("join by invite", INVITE)
async def accept(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.rooms["private"]
    await bob.join(room_id)
    await sees_membership(alice, room_id, bob, "join")
    await sees_event(bob, room_id, await alice.send(room_id, "glad you came"))
    await sees_event(alice, room_id, await bob.send(room_id, "so am I"))


@step("invite, rejected", INVITE)
async def reject(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.rooms["private"]
    await alice.act(room_id, "invite", carol.user_id)
    await sees_invite(carol, room_id, alice, f"Private {scene.tag}")
    await carol.leave(room_id)
    await sees_membership(alice, room_id, carol, "leave")


@step("invite, withdrawn", INVITE)
async def withdraw(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.rooms["private"]
    await alice.act(room_id, "invite", carol.user_id)
    await carol.until(lambda: carol.room(room_id).membership == "invite", "the invitation")
    await alice.act(room_id, "kick", carol.user_id)
    await carol.until(lambda: carol.room(room_id).membership == "leave", "that it is withdrawn")


@step("invite by the joiner", "join by invite")
async def invite_back(scene: Scene) -> None:
    bob, dora, room_id = scene.bob, scene.dora, scene.rooms["private"]
    await bob.act(room_id, "invite", dora.user_id)
    await sees_invite(dora, room_id, bob, f"Private {scene.tag}")
    await dora.join(room_id)
    await sees_membership(bob, room_id, dora, "join")


@step("knock", from_version=7)
async def knock(scene: Scene) -> None:
    alice, bob = scene.alice, scene.bob
    rule: dict[str, object] = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    scene.rooms["knock"] = room_id = await alice.create_room(
        scene.version, preset="private_chat", name=f"Knock {scene.tag}", initial_state=[rule]
    )
    await knock_at(bob, room_id, alice)
    name = bob.room(room_id).stripped.get(("m.room.name", ""), {}).get("name")
    if name != f"Knock {scene.tag}":
        raise StepError(f"the knock's stripped state has the name {name}")


@step("knock, accepted", "knock", from_version=7)
async def knock_accepted(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.rooms["knock"]
    await alice.act(room_id, "invite", bob.user_id)
    await bob.until(lambda: bob.room(room_id).membership == "invite", "the invitation")
    await bob.join(room_id)
    await sees_membership(alice, room_id, bob, "join")


@step("knock, refused", "knock", from_version=7)
async def knock_refused(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.rooms["knock"]
    await knock_at(carol, room_id, alice)
    await alice.act(room_id, "kick", carol.user_id)
    await carol.until(lambda: carol.room(room_id).membership == "leave", "that she is refused")


@step("knock, withdrawn", "knock", from_version=7)
async def knock_withdrawn(scene: Scene) -> None:
    alice, carol, room_id = scene.alice, scene.carol, scene.rooms["knock"]
    await knock_at(carol, room_id, alice)
    await carol.leave(room_id)
    await sees_membership(alice, room_id, carol, "leave")


@step("restricted join by way of a space", from_version=8)
async def restricted(scene: Scene) -> None:
    alice, bob, via = scene.alice, scene.bob, scene.alice.server_name
    await make_restricted(scene)
    await bob.join(scene.rooms["space"], via=via)
    await bob.join(scene.rooms["restricted"], via=via)
    await sees_membership(alice, scene.rooms["restricted"], bob, "join")
    await sees_event(bob, scene.rooms["restricted"], await alice.send(scene.rooms["restricted"], "welcome"))


@step(
    "restricted join without being in the space: refused", "restricted join by way of a space", from_version=8
)
async def restricted_refused(scene: Scene) -> None:
    await is_refused(scene.carol, scene.rooms["restricted"], via=scene.alice.server_name)


@step("hierarchy of the space", "restricted join by way of a space", from_version=8)
async def hierarchy(scene: Scene) -> None:
    for client in (scene.bob, scene.carol):
        try:
            answer = await client.request(
                "GET", "rooms", scene.rooms["space"], "hierarchy", version="/_matrix/client/v1"
            )
        except RefusedError as error:
            if error.errcode == "M_UNRECOGNIZED":
                raise SkippedError("the server does not show spaces to clients") from None
            raise
        found = {room["room_id"] for room in answer["rooms"]}
        wanted = {scene.rooms["space"], scene.rooms["main"]}
        if not wanted <= found:
            raise StepError(
                f"{client.user_id.partition(':')[0]} finds {len(found & wanted)} of {len(wanted)} rooms"
            )


@step("upgrade of the room", "back after the server was out")
async def upgrade(scene: Scene) -> None:
    alice, bob = scene.alice, scene.bob
    try:
        answer = await alice.post("rooms", scene.main, "upgrade", body={"new_version": scene.version})
    except RefusedError as error:
        if error.errcode == "M_UNRECOGNIZED":
            raise SkippedError("the room's server cannot upgrade rooms") from None
        raise
    replacement = answer["replacement_room"]
    await bob.until(
        lambda: bob.room(scene.main).content("m.room.tombstone").get("replacement_room") == replacement,
        "the tombstone",
    )
    await bob.join(replacement, via=alice.server_name)
    await sees_membership(alice, replacement, bob, "join")


async def make_restricted(scene: Scene) -> None:
    """A public space with a restricted room in it, and the public room."""
    alice = scene.alice
    via: list[object] = [alice.server_name]
    scene.rooms["space"] = space = await alice.create_room(
        scene.version,
        preset="public_chat",
        name=f"Space {scene.tag}",
        creation_content={"type": "m.space"},
    )
    content: dict[str, object] = {
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": space}],
    }
    scene.rooms["restricted"] = room_id = await alice.create_room(
        scene.version,
        preset="private_chat",
        name=f"Restricted {scene.tag}",
        initial_state=[{"type": "m.room.join_rules", "content": content}],
    )
    for child in (room_id, scene.main):
        await alice.set_state(space, "m.space.child", {"via": via}, child)


async def knock_at(client: Client, room_id: str, seen_by: Client) -> None:
    await client.post("knock", room_id, server_name=seen_by.server_name, via=seen_by.server_name)
    await client.until(lambda: client.room(room_id).membership == "knock", "the own knock")
    await sees_membership(seen_by, room_id, client, "knock")


async def sees_invite(client: Client, room_id: str, by: Client, name: str) -> None:
    room = client.room(room_id)
    await client.until(lambda: room.membership == "invite", "the invitation")
    if room.stripped.get(("m.room.name", ""), {}).get("name") != name:
        raise StepError(f"the invitation lacks the room's name: {sorted(room.stripped)}")
    if room.stripped.get(("m.room.member", client.user_id), {}).get("membership") != "invite":
        raise StepError(f"the invitation by {by.user_id} lacks the invited: {sorted(room.stripped)}")


async def is_refused(client: Client, room_id: str, via: str) -> None:
    """Joining must be forbidden."""
    try:
        await client.post("join", room_id, server_name=via, via=via)
    except RefusedError as error:
        if error.status == 403:
            return
        raise
    raise StepError("the join was not refused")
