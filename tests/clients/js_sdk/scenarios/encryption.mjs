// End-to-end encryption: two users with three devices; verification, cross-signing, backup, new devices.
import assert from "node:assert/strict";
import { bootstrap, encryptedClient, encryptedRoom, knows, saysTo, undecryptable, verifyByEmoji } from "../encryption.mjs";
import { until } from "../support.mjs";

export default async function play(stage) {
    const vaults = { alice: {}, bob: {} };
    const bobs = { ...stage, baseUrl: stage.otherUrl ?? stage.baseUrl };
    const alice = await encryptedClient(stage, "alice", vaults.alice, { isNew: true });
    const bob = await encryptedClient(bobs, "bob", vaults.bob, { isNew: true });
    await bootstrap(alice, vaults.alice);
    await bootstrap(bob, vaults.bob);

    // A DM.
    const room = await encryptedRoom(alice, bob);
    await saysTo(alice, room, "hello", alice, bob);
    await saysTo(bob, room, "hello to you", alice, bob);

    // Alice and Bob verify each other by emoji, over messages of the room.
    await verifyByEmoji(alice, bob, () => alice.getCrypto().requestVerificationDM(bob.getUserId(), room));
    for (const [one, other] of [
        [alice, bob],
        [bob, alice],
    ]) {
        await until("the other is verified", async () =>
            (await one.getCrypto().getUserVerificationStatus(other.getUserId())).isCrossSigningVerified(),
        );
    }

    // A new device in a running conversation: it reads what is said from now on, without being verified.
    const phone = await encryptedClient(stage, "alice", {});
    await until("the room at the new device", () => phone.getRoom(room));
    for (const each of [alice, bob]) await knows(each, alice.getUserId(), phone.getDeviceId());
    await saysTo(bob, room, "to both devices", alice, phone);
    await saysTo(phone, room, "from the new device", alice, bob);

    // Alice verifies it by emoji, over messages to the devices; it gets the secrets, and with the backup's what was said.
    await verifyByEmoji(alice, phone, () =>
        alice.getCrypto().requestDeviceVerification(alice.getUserId(), phone.getDeviceId()),
    );
    await until("the new device is verified for Bob", async () => {
        const status = await bob.getCrypto().getDeviceVerificationStatus(alice.getUserId(), phone.getDeviceId());
        return status?.signedByOwner;
    });
    await until("the secrets arrive", () => phone.getCrypto().getSessionBackupPrivateKey());
    await until("all keys are in the backup", async () => {
        // The SDK would give what it knew at the beginning.
        const { count } = await alice.http.authedRequest("GET", "/room_keys/version", {}, undefined, {});
        return count >= 3;
    });
    await phone.getCrypto().restoreKeyBackup();
    const first = phone.getRoom(room).getLiveTimeline().getEvents();
    await until("what was said before can be read", () => first.every((event) => !event.isDecryptionFailure()));

    // Another one restores by the recovery key alone.
    const tablet = await encryptedClient(stage, "alice", vaults.alice);
    assert.ok(await tablet.getCrypto().userHasCrossSigningKeys(undefined, true));
    await tablet.getCrypto().bootstrapCrossSigning({});
    await tablet.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
    const { imported, total } = await tablet.getCrypto().restoreKeyBackup();
    assert.ok(imported > 0 && imported === total, `${imported} of ${total} keys are restored`);
    await until("the room at the restored device", () => tablet.getRoom(room));
    await until("it can be read there", () => undecryptable(tablet, room) === 0);
    for (const each of [alice, bob]) await knows(each, alice.getUserId(), tablet.getDeviceId());
    await saysTo(tablet, room, "from the third device", alice, bob, phone);

    // Logout and login: a new device takes the place of the old one, which is sent nothing any more.
    const gone = phone.getDeviceId();
    await phone.logout(true);
    await knows(bob, alice.getUserId(), gone, false);
    const again = await encryptedClient(stage, "alice", vaults.alice);
    await until("the room after the login", () => again.getRoom(room));
    await knows(bob, alice.getUserId(), again.getDeviceId());
    await saysTo(bob, room, "after the login", alice, tablet, again);

    // Who is not verified is withheld the key, and told so.
    alice.getCrypto().globalBlacklistUnverifiedDevices = true;
    const stranger = await encryptedClient(bobs, "bob", {});
    await until("the room at the unverified device", () => stranger.getRoom(room));
    await knows(alice, bob.getUserId(), stranger.getDeviceId());
    await alice.getCrypto().forceDiscardSession(room);
    const eventId = await saysTo(alice, room, "for verified devices", bob);
    const withheld = await until("the message at the unverified device", () =>
        stranger.getRoom(room).findEventById(eventId),
    );
    await until("it is said to be withheld", () => /withheld|verified/i.test(withheld.decryptionFailureReason ?? ""));

    for (const client of [alice, bob, tablet]) assert.equal(undecryptable(client, room), 0);
    process.stdout.write("undecryptable messages: 0\n");
}
