// A thread: its root's bundle, the list of threads, receipts and unread counts of the thread and of the rest.
import assert from "node:assert/strict";
import { NotificationCountType, RelationType, ThreadFilterType } from "matrix-js-sdk";
import { register, seen, start, until } from "../support.mjs";

export default async function ({ baseUrl, keep }) {
    const alice = keep(await start(await register(baseUrl, "alice")));
    const bob = keep(await start(await register(baseUrl, "bob")));
    const { room_id: room } = await alice.createRoom({ preset: "public_chat" });
    await bob.joinRoom(room);
    await until("the room at bob's", () => bob.getRoom(room)?.getMyMembership() === "join");
    const { event_id: root } = await alice.sendTextMessage(room, "root");
    const { event_id: aside } = await alice.sendTextMessage(room, "aside");
    await seen(bob, room, aside);

    const inThread = (sender, body) =>
        sender.sendMessage(room, root, {
            "msgtype": "m.text",
            body,
            "m.relates_to": { rel_type: RelationType.Thread, event_id: root, is_falling_back: true, "m.in_reply_to": { event_id: root } },
            "m.mentions": body.includes("bob") ? { user_ids: [bob.getUserId()] } : {},
        });
    await inThread(bob, "one");
    await inThread(alice, "two");
    const { event_id: last } = await inThread(alice, "bob, three");

    const thread = await until("the thread", () => bob.getRoom(room).getThread(root));
    await until("its length", () => thread.length === 3 && thread.replyToEvent?.getId() === last);
    assert.equal(thread.hasCurrentUserParticipated, true);

    const atBobs = () => bob.getRoom(room);
    const count = (type) => atBobs().getThreadUnreadNotificationCount(root, type);
    await until("the thread's counts", () => count(NotificationCountType.Highlight) === 1 && count(NotificationCountType.Total) === 2);
    const ofTheRest = () => atBobs().getRoomUnreadNotificationCount(NotificationCountType.Total);
    assert.equal(ofTheRest(), 2);

    await bob.sendReadReceipt(atBobs().findEventById(aside));
    await until("the rest to be read", () => ofTheRest() === 0);
    assert.equal(count(NotificationCountType.Total), 2);
    await bob.sendReadReceipt(await until("the last reply", () => thread.findEventById(last)));
    await until("the thread to be read", () => count(NotificationCountType.Total) === 0);
    await until("the receipt at alice's", () => alice.getRoom(room).getThread(root)?.hasUserReadEvent(bob.getUserId(), last));

    // A device that was not there finds the same by asking.
    const { chunk } = await alice.createThreadListMessagesRequest(room, null, 10, "b", ThreadFilterType.All);
    assert.deepEqual(chunk.map((event) => event.event_id), [root]);
    const bundle = chunk[0].unsigned["m.relations"]["m.thread"];
    assert.equal(bundle.count, 3);
    assert.equal(bundle.latest_event.event_id, last);
    assert.equal(bundle.current_user_participated, true);
    const related = await alice.relations(room, root, RelationType.Thread, null, { limit: 10 });
    assert.deepEqual(related.events.map((event) => event.getContent().body), ["bob, three", "two", "one"]);
}
