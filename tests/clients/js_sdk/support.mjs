// What the scenarios share: clients that are logged in, and waiting for a condition.
import { createClient } from "matrix-js-sdk";

const PATIENCE_MS = 20_000;
const LOOK_AGAIN_MS = 20;

/** Register `name` (with the dummy stage) and give a client of a first device, which has not started to sync. */
export async function register(baseUrl, name, password = "a password of the tests") {
    const guest = createClient({ baseUrl });
    const asked = { username: name, password, initial_device_display_name: "js-sdk" };
    const session = await guest.registerRequest(asked).catch((error) => error.data.session);
    const made = await guest.registerRequest({ ...asked, auth: { type: "m.login.dummy", session } });
    return clientOf(baseUrl, made);
}

/** Log `name` in on a further device. */
export async function logIn(baseUrl, name, password = "a password of the tests") {
    const made = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    });
    return clientOf(baseUrl, made);
}

/** A client for the answer of a login or registration. */
export function clientOf(baseUrl, made, more = {}) {
    return createClient({
        baseUrl,
        userId: made.user_id,
        deviceId: made.device_id,
        accessToken: made.access_token,
        timelineSupport: true,
        ...more,
    });
}

/** Have `client` sync as applications do: lazy-loaded members, threads. */
export async function start(client, more = {}) {
    await client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true, threadSupport: true, ...more });
    await until("the first sync", () => client.isInitialSyncComplete());
    return client;
}

/** Wait until `condition` gives something true, and return that. What is waited for is named if it never comes. */
export async function until(what, condition) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = await condition();
        if (found) return found;
        if (Date.now() > end) throw new Error(`waited in vain for: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
}

/** The event `eventId` as `client` holds it, once it does. */
export async function seen(client, roomId, eventId) {
    return until(`${eventId} at ${client.getUserId()}`, () => client.getRoom(roomId)?.findEventById(eventId));
}

