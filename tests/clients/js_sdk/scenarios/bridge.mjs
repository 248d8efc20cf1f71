// A bridge whose users talk end-to-end encrypted: no logins, one token for all, devices made for the purpose.
import assert from "node:assert/strict";
import { createClient } from "matrix-js-sdk";
import { encryptedClient, encryptedRoom, knows, saysTo, undecryptable } from "../encryption.mjs";
import { start, until } from "../support.mjs";

const AS_TOKEN = "irc-token";

/** A new user of the bridge; gives its ID. */
async function registered({ baseUrl }, localpart) {
    const bridge = createClient({ baseUrl, accessToken: AS_TOKEN });
    const asked = { type: "m.login.application_service", username: localpart, inhibit_login: true };
    return (await bridge.http.authedRequest("POST", "/register", {}, asked)).user_id;
}

/** A new device of a user of the bridge, with crypto, that syncs. */
async function device({ baseUrl, keep }, userId, deviceId) {
    const acting = { baseUrl, userId, accessToken: AS_TOKEN };
    const owner = createClient({ ...acting, queryParams: { user_id: userId } });
    await owner.http.authedRequest("PUT", `/devices/${deviceId}`, undefined, { display_name: "Bridge" });
    const queryParams = { user_id: userId, device_id: deviceId };
    const client = keep(createClient({ ...acting, deviceId, queryParams, timelineSupport: true }));
    await client.initRustCrypto({ useIndexedDB: false });
    return start(client);
}

export default async function play(stage) {
    const bob = await device(stage, await registered(stage, "irc_bob"), "BRIDGEBOB");
    const eve = await device(stage, await registered(stage, "irc_eve"), "BRIDGEEVE");
    assert.deepEqual(await bob.whoami(), { user_id: "@irc_bob:test.example", device_id: "BRIDGEBOB" });

    await bob.getCrypto().bootstrapCrossSigning({
        authUploadDeviceSigningKeys: async (upload) => void (await upload(null)),
    });
    await until("cross-signing is ready", () => bob.getCrypto().isCrossSigningReady());

    const alice = await encryptedClient(stage, "alice", {}, { isNew: true });
    const room = await encryptedRoom(alice, bob, eve);
    const everybody = [alice, bob, eve];
    for (const one of everybody) {
        for (const other of everybody) await knows(one, other.getUserId(), other.getDeviceId());
    }
    await saysTo(alice, room, "hello over there", ...everybody);
    await saysTo(bob, room, "hello from afar", ...everybody);
    await saysTo(eve, room, "and from me", ...everybody);
    await until("the ghost is signed by its owner for Alice", async () => {
        const status = await alice.getCrypto().getDeviceVerificationStatus(bob.getUserId(), "BRIDGEBOB");
        return status?.signedByOwner;
    });

    // A device of the bridge goes, and another one comes, in the running conversation.
    await eve.http.authedRequest("DELETE", "/devices/BRIDGEEVE", undefined, {});
    eve.stopClient();
    await knows(alice, eve.getUserId(), "BRIDGEEVE", false);
    const renewed = await device(stage, eve.getUserId(), "BRIDGENEW");
    await knows(alice, eve.getUserId(), "BRIDGENEW");
    await saysTo(alice, room, "to the new device", bob, renewed);
    await saysTo(renewed, room, "from the new device", alice, bob);

    for (const client of [alice, bob]) assert.equal(undecryptable(client, room), 0);
    process.stdout.write("undecryptable messages: 0\n");
}
