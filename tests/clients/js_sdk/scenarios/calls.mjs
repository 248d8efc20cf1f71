// Calls as Element Call has them, but for the pictures and voices: who is in one, by state and by sticky events, the keys
// of the media in encrypted messages to devices, and a device that dies, whose leaving the server tells.
import assert from "node:assert/strict";
import { MatrixRTCSessionEvent } from "matrix-js-sdk/lib/matrixrtc/index.js";
import { bootstrap, encryptedClient, encryptedRoom, knows } from "../encryption.mjs";
import { until } from "../support.mjs";

const LEAVE_MS = 2_000;

/** Join the call of a room, and collect the keys of those who are in it. */
async function joins(client, roomId, more) {
    const session = client.matrixRTC.getRoomSession(client.getRoom(roomId));
    const keys = new Set();
    session.on(MatrixRTCSessionEvent.EncryptionKeyChanged, (_key, _index, member) => keys.add(member.userId));
    const failed = [];
    session.on(MatrixRTCSessionEvent.MembershipManagerError, (error) => failed.push(error));
    const [transport] = await client._unstable_getRTCTransports();
    assert.equal(transport.type, "livekit");
    const self = { userId: client.getUserId(), deviceId: client.getDeviceId(), memberId: `${client.getDeviceId()}-member` };
    session.joinRTCSession(self, [transport], transport, {
        delayedLeaveEventDelayMs: LEAVE_MS,
        delayedLeaveEventRestartMs: LEAVE_MS / 4,
        manageMediaKeys: true,
        ...more,
    });
    return { session, keys, failed };
}

function members(call) {
    return call.session.memberships.map((each) => each.userId).sort();
}

/** A call of two, of whom one dies and the other one leaves. */
async function call(alice, bob, roomId, more) {
    const [one, other] = [await joins(alice, roomId, more), await joins(bob, roomId, more)];
    const both = [alice.getUserId(), bob.getUserId()].sort();
    for (const each of [one, other]) {
        await until("both are in the call", () => members(each).join() === both.join());
        await until("each has the media keys of both", () => both.every((userId) => each.keys.has(userId)));
    }
    // Nothing is heard of Alice's device any more: its keep-alives do not come, and the server says that it has left.
    alice.die();
    await until("the dead device has left", () => members(other).join() === bob.getUserId());
    await other.session.leaveRoomSession(5_000);
    await until("nobody is in the call", () => members(other).length === 0);
    assert.deepEqual([...one.failed, ...other.failed], []);
    alice.revive();
    await one.session.leaveRoomSession(5_000);
}

/** A client that can die, and be revived: between the two none of its requests leaves it. */
function mortal(client) {
    let life = Promise.resolve();
    client.die = () => {
        life = new Promise((resolve) => {
            client.revive = resolve;
        });
    };
    client.http.opts.fetchFn = async (...asked) => {
        await life;
        return fetch(...asked);
    };
    return client;
}

export default async function play(stage) {
    const vaults = { alice: {}, bob: {} };
    const alice = mortal(await encryptedClient(stage, "alice", vaults.alice, { isNew: true }));
    const bob = await encryptedClient(stage, "bob", vaults.bob, { isNew: true });
    await bootstrap(alice, vaults.alice);
    await bootstrap(bob, vaults.bob);
    const roomId = await encryptedRoom(alice, bob);
    await knows(alice, bob.getUserId(), bob.getDeviceId());
    await knows(bob, alice.getUserId(), alice.getDeviceId());
    await call(alice, bob, roomId, {});
    await call(alice, bob, await encryptedRoom(alice, bob), { unstableSendStickyEvents: true });
}
