// Finding and organising: search, a space, knocking, an upgrade.
import assert from "node:assert/strict";
import { EventType, Preset, RoomType, RoomCreateTypeField } from "matrix-js-sdk";
import { register, seen, start, until } from "../support.mjs";

export default async function ({ baseUrl, keep }) {
    const alice = keep(await start(await register(baseUrl, "alice")));
    const bob = keep(await start(await register(baseUrl, "bob")));
    await searching(alice);
    await space(alice, bob);
    await knocking(alice, bob);
    await upgrading(alice, bob);
}

async function searching(alice) {
    const { room_id: room } = await alice.createRoom({ preset: Preset.PublicChat });
    await alice.sendTextMessage(room, "The needle lies here");
    await alice.sendTextMessage(room, "Nothing but hay");
    const results = await until("the message to be found", async () => {
        const found = await alice.searchRoomEvents({ term: "needle" });
        return found.count > 0 && found;
    });
    assert.deepEqual(results.results.map((each) => each.context.getEvent().getContent().body), ["The needle lies here"]);
}

async function space(alice, bob) {
    const { room_id: parent } = await alice.createRoom({
        name: "A space",
        preset: Preset.PublicChat,
        creation_content: { [RoomCreateTypeField]: RoomType.Space },
    });
    const { room_id: child } = await alice.createRoom({ name: "A child", preset: Preset.PublicChat });
    await alice.sendStateEvent(parent, EventType.SpaceChild, { via: [alice.getDomain()], suggested: true }, child);
    const { rooms } = await bob.getRoomHierarchy(parent, 10, 2, true);
    assert.deepEqual(rooms.map((room) => room.name), ["A space", "A child"]);
    assert.equal((await bob.getRoomSummary(child)).name, "A child");
}

async function knocking(alice, bob) {
    const { room_id: room } = await alice.createRoom({
        name: "Knock, knock",
        initial_state: [{ type: EventType.RoomJoinRules, state_key: "", content: { join_rule: "knock" } }],
    });
    await bob.knockRoom(room, { reason: "let me in" });
    await until("the knock at bob's", () => bob.getRoom(room)?.getMyMembership() === "knock");
    const knocker = await until("the knock at alice's", () => alice.getRoom(room)?.getMember(bob.getUserId()));
    assert.equal(knocker.membership, "knock");
    await alice.invite(room, bob.getUserId());
    await until("the invitation", () => bob.getRoom(room)?.getMyMembership() === "invite");
    await bob.joinRoom(room);
    await until("the join", () => bob.getRoom(room)?.getMyMembership() === "join");
}

async function upgrading(alice, bob) {
    const { room_id: old } = await alice.createRoom({ name: "Old", preset: Preset.PublicChat, room_version: "10" });
    await bob.joinRoom(old);
    const { replacement_room: replacement } = await alice.upgradeRoom(old, "12");
    const tombstone = await until("the tombstone", () =>
        bob.getRoom(old)?.getLiveTimeline().getState("f")?.getStateEvents(EventType.RoomTombstone, ""),
    );
    assert.equal(tombstone.getContent().replacement_room, replacement);
    await bob.joinRoom(replacement);
    await until("the new room", () => bob.getRoom(replacement)?.getMyMembership() === "join");
    const room = bob.getRoom(replacement);
    assert.equal(room.name, "Old");
    assert.equal(room.getVersion(), "12");
    assert.equal(room.findPredecessor().roomId, old);
    const { event_id: sent } = await alice.sendTextMessage(replacement, "moved");
    await seen(bob, replacement, sent);
}
