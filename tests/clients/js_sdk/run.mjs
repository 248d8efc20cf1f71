// node run.mjs SCENARIO BASE_URL [OTHER_URL]: runs one scenario against a server, or two of them; exit code 0 if all of
// its assertions held.
// What the SDK says of its work is not asked for.
console.trace = console.debug = console.log = console.info = console.warn = () => undefined;
const [scenario, baseUrl, otherUrl] = process.argv.slice(2);
const { default: play } = await import(`./scenarios/${scenario}.mjs`);
const clients = [];
try {
    await play({ baseUrl, otherUrl, keep: (client) => (clients.push(client), client) });
} catch (error) {
    console.error(error);
    process.exitCode = 1;
}
for (const client of clients) client.stopClient();
// The SDK keeps timers of its own, which would hold the process up.
setImmediate(() => process.exit());
