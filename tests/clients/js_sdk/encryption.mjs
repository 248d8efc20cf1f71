// What the scenarios of end-to-end encryption share.
import assert from "node:assert/strict";
import { CryptoEvent, VerificationPhase, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { clientOf, start, until } from "./support.mjs";
import { createClient } from "matrix-js-sdk";

const PASSWORD = "a password of the tests";

/** A client with crypto that syncs; a user who is `new` is registered first. Its recovery key is kept in `vault`. */
export async function encryptedClient({ baseUrl, keep }, name, vault, { isNew = false } = {}) {
    const made = isNew ? await registered(baseUrl, name) : await loggedIn(baseUrl, name);
    const cryptoCallbacks = {
        getSecretStorageKey: async ({ keys }) => {
            const [keyId] = Object.keys(keys);
            return vault.privateKey ? [keyId, vault.privateKey] : null;
        },
    };
    const client = keep(clientOf(baseUrl, made, { cryptoCallbacks }));
    await client.initRustCrypto({ useIndexedDB: false });
    await start(client);
    return client;
}

async function registered(baseUrl, name) {
    const guest = createClient({ baseUrl });
    const asked = { username: name, password: PASSWORD };
    const session = await guest.registerRequest(asked).catch((error) => error.data.session);
    return guest.registerRequest({ ...asked, auth: { type: "m.login.dummy", session } });
}

async function loggedIn(baseUrl, name) {
    const identifier = { type: "m.id.user", user: name };
    return createClient({ baseUrl }).loginRequest({ type: "m.login.password", identifier, password: PASSWORD });
}

/** Set up cross-signing, secret storage and a key backup, as a client does for a new user. */
export async function bootstrap(client, vault) {
    const crypto = client.getCrypto();
    // The first keys need no authentication.
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: async (upload) => void (await upload(null)) });
    const recoveryKey = await crypto.createRecoveryKeyFromPassphrase();
    vault.privateKey = recoveryKey.privateKey;
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: async () => recoveryKey,
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    assert.ok(await crypto.isCrossSigningReady(), "cross-signing is ready");
    assert.ok(await crypto.isSecretStorageReady(), "secret storage is ready");
    await until("the backup is in use", () => crypto.getActiveSessionBackupVersion());
}

/** An encrypted room of `creator` with the others, which they have joined. */
export async function encryptedRoom(creator, ...others) {
    const { room_id: roomId } = await creator.createRoom({
        preset: "trusted_private_chat",
        is_direct: true,
        invite: others.map((each) => each.getUserId()),
        initial_state: [
            { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
        ],
    });
    for (const each of others) {
        await until("the invitation", () => each.getRoom(roomId));
        await each.joinRoom(roomId);
    }
    for (const client of [creator, ...others]) {
        await until("all are in the room", () => client.getRoom(roomId)?.getJoinedMemberCount() === others.length + 1);
        await until("the room is encrypted", () => client.getRoom(roomId).hasEncryptionStateEvent());
    }
    return roomId;
}

/** Wait until `client` has heard, by its syncs, that a device is there; or with `isThere` false, that it is gone. */
export async function knows(client, userId, deviceId, isThere = true) {
    await until(`${client.getUserId()} knows of ${deviceId}: ${isThere}`, async () => {
        const devices = await client.getCrypto().getUserDeviceInfo([userId]);
        return (devices.get(userId)?.has(deviceId) ?? false) === isThere;
    });
}

/** What an event says, once `client` holds it and could decrypt it. */
export async function readable(client, roomId, eventId) {
    const event = await until(`${eventId} at ${client.getUserId()} ${client.getDeviceId()}`, () =>
        client.getRoom(roomId)?.findEventById(eventId),
    );
    await until(`${eventId} is decrypted at ${client.getUserId()} ${client.getDeviceId()}`, () => {
        return event.getType() === "m.room.message" && !event.isDecryptionFailure();
    });
    return event.getContent().body;
}

/** Say something; all of the clients can read it. */
export async function saysTo(sender, roomId, text, ...readers) {
    const { event_id: eventId } = await sender.sendTextMessage(roomId, text);
    for (const reader of readers) assert.equal(await readable(reader, roomId, eventId), text);
    return eventId;
}

/** The events of a room that a client holds and cannot decrypt. */
export function undecryptable(client, roomId) {
    const events = client.getRoom(roomId).getLiveTimeline().getEvents();
    return events.filter((event) => event.isDecryptionFailure()).length;
}

/** Verify each other by emoji; `ask` makes the request at the first client. */
export async function verifyByEmoji(first, second, ask) {
    const received = new Promise((resolve) => second.once(CryptoEvent.VerificationRequestReceived, resolve));
    const request = await ask();
    const other = await received;
    await other.accept();
    await until("both are ready", () => request.phase === VerificationPhase.Ready);
    const verifier = await request.startVerification("m.sas.v1");
    await until("the other has begun", () => other.verifier);
    const shown = await Promise.all([verifier, other.verifier].map(confirmed));
    assert.deepEqual(shown[0], shown[1], "both see the same emoji");
    await until("both are done", () =>
        [request, other].every((each) => each.phase === VerificationPhase.Done),
    );
}

/** Confirm whatever emoji are shown; gives them when it is done. */
async function confirmed(verifier) {
    let emoji;
    const show = (sas) => {
        emoji = sas.sas.emoji;
        void sas.confirm();
    };
    verifier.on(VerifierEvent.ShowSas, show);
    const already = verifier.getShowSasCallbacks();
    if (already) show(already);
    await verifier.verify();
    return emoji;
}
