// Two people: an invitation, messages, an edit, a reaction, a rich reply, a redaction, typing, receipts and unread counts.
import assert from "node:assert/strict";
import { EventType, NotificationCountType, RelationType, RoomEvent, RoomMemberEvent } from "matrix-js-sdk";
import { register, seen, start, until } from "../support.mjs";

export default async function ({ baseUrl, keep }) {
    const alice = keep(await start(await register(baseUrl, "alice")));
    const bob = keep(await start(await register(baseUrl, "bob")));
    const { room_id: room } = await alice.createRoom({ name: "A room", invite: [bob.getUserId()] });

    await until("the invitation", () => bob.getRoom(room)?.getMyMembership() === "invite");
    assert.equal(bob.getRoom(room).name, "A room");
    await bob.joinRoom(room);
    await until("bob's join", () => alice.getRoom(room)?.getMember(bob.getUserId())?.membership === "join");

    const { event_id: first } = await alice.sendTextMessage(room, "hello");
    assert.equal((await seen(bob, room, first)).getContent().body, "hello");

    await alice.sendMessage(room, {
        "msgtype": "m.text",
        "body": "* hello, bob",
        "m.new_content": { msgtype: "m.text", body: "hello, bob" },
        "m.relates_to": { rel_type: RelationType.Replace, event_id: first },
    });
    await until("the edit", () => bob.getRoom(room).findEventById(first).getContent().body === "hello, bob");

    const { event_id: reaction } = await bob.sendEvent(room, EventType.Reaction, {
        "m.relates_to": { rel_type: RelationType.Annotation, event_id: first, key: "👍" },
    });
    const reactions = () =>
        alice
            .getRoom(room)
            .relations.getChildEventsForEvent(first, RelationType.Annotation, EventType.Reaction)
            ?.getSortedAnnotationsByKey()
            ?.map(([key, events]) => [key, events.size]);
    await until("the reaction", () => JSON.stringify(reactions()) === JSON.stringify([["👍", 1]]));
    await assert.rejects(
        bob.sendEvent(room, EventType.Reaction, {
            "m.relates_to": { rel_type: RelationType.Annotation, event_id: first, key: "👍" },
        }),
        (error) => error.errcode === "M_DUPLICATE_ANNOTATION",
    );
    await bob.redactEvent(room, reaction);
    await until("the reaction to go", () => reactions().every(([, count]) => count === 0));

    const { event_id: reply } = await bob.sendMessage(room, {
        "msgtype": "m.text",
        "body": "hi, alice",
        "m.relates_to": { "m.in_reply_to": { event_id: first } },
        "m.mentions": { user_ids: [alice.getUserId()] },
    });
    assert.equal((await seen(alice, room, reply)).replyEventId, first);
    await until("a count of it", () => alice.getRoom(room).getUnreadNotificationCount(NotificationCountType.Total) > 0);
    assert.equal(alice.getRoom(room).getUnreadNotificationCount(NotificationCountType.Highlight), 1);

    await alice.sendReadReceipt(alice.getRoom(room).findEventById(reply));
    await until("the receipt", () => bob.getRoom(room).hasUserReadEvent(alice.getUserId(), reply));
    await until("it to be read", () => alice.getRoom(room).getUnreadNotificationCount(NotificationCountType.Total) === 0);

    const typing = new Promise((resolve) => {
        bob.on(RoomMemberEvent.Typing, (_event, member) => member.typing && resolve(member.userId));
    });
    await alice.sendTyping(room, true, 20_000);
    assert.equal(await typing, alice.getUserId());

    const redacted = new Promise((resolve) => bob.on(RoomEvent.Redaction, (event) => resolve(event.event.redacts ?? event.getContent().redacts)));
    await alice.redactEvent(room, first, undefined, { reason: "enough" });
    assert.equal(await redacted, first);
    await until("the redaction", () => bob.getRoom(room).findEventById(first).isRedacted());

    await bob.leave(room);
    await until("bob's leaving", () => alice.getRoom(room).getMember(bob.getUserId()).membership === "leave");
}
