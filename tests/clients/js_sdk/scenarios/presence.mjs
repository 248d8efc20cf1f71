// Who is there: presence of a person one shares a room with, its message, and its end.
import { SetPresence } from "matrix-js-sdk";
import { register, start, until } from "../support.mjs";

export default async function ({ baseUrl, keep }) {
    const alice = keep(await start(await register(baseUrl, "alice")));
    const bob = keep(await start(await register(baseUrl, "bob")));
    const { room_id: room } = await alice.createRoom({ preset: "public_chat" });
    await bob.joinRoom(room);
    const bobAtAlices = () => alice.getUser(bob.getUserId());
    await until("bob to be online", () => bobAtAlices()?.presence === "online");
    await bob.setSyncPresence(SetPresence.Unavailable);
    await bob.setPresence({ presence: "unavailable", status_msg: "at lunch" });
    await until("bob's message", () => bobAtAlices().presenceStatusMsg === "at lunch");
    await until("bob to be away", () => bobAtAlices().presence === "unavailable");
    bob.stopClient();
    await bob.setPresence({ presence: "offline" });
    await until("bob to be gone", () => bobAtAlices().presence === "offline");
}
