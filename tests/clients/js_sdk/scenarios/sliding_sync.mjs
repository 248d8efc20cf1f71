// The SDK's sliding sync: a window of rooms, an invitation, a room that moves to the top, typing, receipts, a new session.
import assert from "node:assert/strict";
import { EventType, NotificationCountType, RoomMemberEvent } from "matrix-js-sdk";
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";
import { register, seen, until } from "../support.mjs";

const STATE = [
    [EventType.RoomCreate, ""],
    [EventType.RoomName, ""],
    [EventType.RoomMember, "$LAZY"],
    [EventType.RoomMember, "$ME"],
];

async function slide(client, ranges = [[0, 1]]) {
    const lists = new Map([["all", { ranges, required_state: STATE, timeline_limit: 5 }]]);
    const sliding = new SlidingSync(client.getHomeserverUrl(), lists, { required_state: STATE, timeline_limit: 20 }, client, 10_000);
    await client.startClient({ slidingSync: sliding, threadSupport: true });
    return sliding;
}

export default async function ({ baseUrl, keep }) {
    const alice = keep(await register(baseUrl, "alice"));
    const bob = keep(await register(baseUrl, "bob"));
    const rooms = [];
    for (const name of ["first", "second", "third"]) {
        rooms.push((await alice.createRoom({ name, preset: "public_chat", invite: name === "first" ? [bob.getUserId()] : [] })).room_id);
        await alice.sendTextMessage(rooms.at(-1), `hello from ${name}`);
    }
    const sliding = await slide(alice);
    await until("the window", () => alice.getRoom(rooms[2]) && alice.getRoom(rooms[1]));
    assert.equal(sliding.getListData("all").joinedCount, 3);
    assert.equal(alice.getRoom(rooms[0]), null);
    assert.equal(alice.getRoom(rooms[2]).name, "third");

    // What happens in a room outside the window brings it in.
    const bobs = await slide(bob, [[0, 9]]);
    await until("the invitation", () => bob.getRoom(rooms[0])?.getMyMembership() === "invite");
    await bob.joinRoom(rooms[0]);
    await until("the join", () => bob.getRoom(rooms[0]).getMyMembership() === "join");
    const { event_id: sent } = await bob.sendMessage(rooms[0], {
        "msgtype": "m.text",
        "body": "alice, are you there?",
        "m.mentions": { user_ids: [alice.getUserId()] },
    });
    assert.equal((await seen(alice, rooms[0], sent)).getContent().body, "alice, are you there?");
    await until("the counts", () => alice.getRoom(rooms[0]).getUnreadNotificationCount(NotificationCountType.Highlight) === 1);

    const typing = new Promise((resolve) => {
        alice.on(RoomMemberEvent.Typing, (_event, member) => member.typing && resolve(member.userId));
    });
    await bob.sendTyping(rooms[0], true, 20_000);
    assert.equal(await typing, bob.getUserId());

    await alice.sendReadReceipt(alice.getRoom(rooms[0]).findEventById(sent));
    await until("the receipt", () => bob.getRoom(rooms[0]).hasUserReadEvent(alice.getUserId(), sent));
    await alice.setAccountData("org.example.note", { text: "remember" });
    await until("account data", () => alice.getAccountData("org.example.note")?.getContent().text === "remember");

    // A room that is asked for by its ID comes with more of its history.
    sliding.modifyRoomSubscriptions(new Set([rooms[1]]));
    const bodies = () => alice.getRoom(rooms[1]).getLiveTimeline().getEvents().map((event) => event.getType());
    await until("the subscribed room's history", () => bodies().includes(EventType.RoomCreate));
    bobs.stop();
    await bob.leave(rooms[0]);
    await until("bob's leaving", () => alice.getRoom(rooms[0]).getMember(bob.getUserId())?.membership === "leave");
}
