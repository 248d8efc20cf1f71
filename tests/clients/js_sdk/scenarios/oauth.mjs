// Logging in, making an account, and letting a device in, as Element Web does it: all by the SDK but for what people do
// in their browser.
import assert from "node:assert/strict";
import { OAuth2, OAuth2HTTPError, createClient } from "matrix-js-sdk";
import { Browser } from "../browser.mjs";
import { start, until } from "../support.mjs";

const REDIRECT = "https://app.example.com/?no_universal_links=true";
const PASSWORD = "a password of the tests";
const APP = {
    client_name: "An app",
    client_uri: "https://app.example.com/",
    redirect_uris: [REDIRECT],
    application_type: "web",
    contacts: ["mailto:support@example.com"],
    tos_uri: "https://elsewhere.example/terms",
};

/** Send a browser to the server, have `fill` do what its user does, and give the tokens. */
async function letIn(oauth, browser, prompt, fill) {
    const state = "state of the test";
    const url = await oauth.generateAuthorizationCodeGrantUrl(state, REDIRECT, "fragment", prompt);
    const page = await fill(await browser.open(url));
    const answer = new URLSearchParams((await browser.press(page, "allow")).leftFor.split("#")[1]);
    assert.equal(answer.get("state"), state);
    return oauth.completeAuthorizationCodeGrant(answer.get("code"), REDIRECT);
}

export default async function ({ baseUrl, keep }) {
    const metadata = await createClient({ baseUrl }).getAuthMetadata();
    assert.deepEqual(metadata.prompt_values_supported, ["create"]);
    const clientId = await OAuth2.registerClient(metadata, APP);
    assert.equal(await OAuth2.registerClient(metadata, APP), clientId);
    const browser = new Browser();

    // Make an account.
    const oauth = new OAuth2(metadata, { clientId });
    const name = { username: "alice", password: PASSWORD, again: PASSWORD };
    const tokens = await letIn(oauth, browser, "create", (page) => browser.fill(page, name));
    assert.equal(tokens.token_type, "Bearer");
    const { user_id: userId, device_id: deviceId } = await createClient({
        baseUrl,
        accessToken: tokens.access_token,
    }).whoami();
    assert.equal(userId, "@alice:test.example");
    assert.equal(deviceId, oauth.context.deviceId);

    // Use it; when its token is refused, the SDK refreshes it.
    const session = { baseUrl, userId, deviceId, oauthClientId: clientId, refreshToken: tokens.refresh_token };
    const client = keep(createClient({ ...session, accessToken: "expired" }));
    const { room_id: room } = await client.createRoom({ name: "A room" });
    assert.notEqual(client.getAccessToken(), "expired");
    await start(client);
    await client.sendTextMessage(room, "hello");
    await until("the message", () => client.getRoom(room)?.timeline.at(-1)?.getContent().body === "hello");

    // Another login in the same browser only has to be let in.
    const second = new OAuth2(metadata, { clientId: await OAuth2.registerClient(metadata, APP) });
    const more = await letIn(second, browser, undefined, (page) => page);
    assert.equal((await createClient({ baseUrl, accessToken: more.access_token }).whoami()).user_id, userId);

    // And a device that has no browser.
    const third = new OAuth2(metadata, { clientId });
    const shown = await third.startDeviceAuthorizationGrant();
    const asked = await browser.open(shown.verification_uri_complete);
    assert.ok(asked.text.includes(shown.user_code));
    await browser.press(asked, "allow");
    const device = await third.waitForDeviceAuthorizationGrant(shown);
    const whole = await createClient({ baseUrl, accessToken: device.access_token }).whoami();
    assert.equal(whole.device_id, third.context.deviceId);

    // Log out.
    const last = client.getAccessToken();
    await client.logout(true);
    await assert.rejects(createClient({ baseUrl, accessToken: last }).whoami(), { errcode: "M_UNKNOWN_TOKEN" });
    await second.revokeToken(more.refresh_token, "refresh_token");
    await assert.rejects(second.performRefreshTokenGrant(more.refresh_token), (error) => {
        // By this, clients tell that they are logged out from the server's being out of order.
        return error instanceof OAuth2HTTPError && error.httpStatus === 400;
    });
}
