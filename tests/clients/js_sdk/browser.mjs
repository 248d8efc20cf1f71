// What people do in a browser, as far as the server's pages need it: a cookie, forms, redirections; no scripts.
const FORM = /<form method="(\w+)" action="([^"]*)">([\s\S]*?)<\/form>/g;
const INPUT = /<input[^>]*>/g;

const attribute = (tag, name) => unescape(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
const unescape = (text) =>
    text.replace(/&(amp|lt|gt|#34|#39);/g, (_, name) => ({ "amp": "&", "lt": "<", "gt": ">", "#34": '"', "#39": "'" })[name]);

export class Browser {
    cookies = new Map();

    /** Open a page. */
    async open(url) {
        return this.#go(url, { method: "GET" });
    }

    /** Fill in the first form, and send it. */
    async fill(page, values) {
        return this.#send(page, page.forms[0], values);
    }

    /** Press a button of the first form that means a decision. */
    async press(page, decision) {
        return this.#send(page, page.forms[0], { decision });
    }

    async #send(page, form, values) {
        const body = new URLSearchParams({ ...form.fields, ...values });
        return this.#go(new URL(form.action, page.url).href, { method: "POST", body });
    }

    async #go(url, options) {
        for (;;) {
            const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
            const response = await fetch(url, { ...options, redirect: "manual", headers: { cookie } });
            for (const each of response.headers.getSetCookie()) {
                const [name, value] = each.split(";")[0].split("=");
                this.cookies.set(name, value);
            }
            const text = await response.text();
            if (response.status !== 303) return { url, text, forms: forms(text) };
            const target = new URL(response.headers.get("location"), url);
            if (target.origin !== new URL(url).origin) return { url, text, leftFor: target.href };
            [url, options] = [target.href, { method: "GET" }];
        }
    }
}

function forms(text) {
    return [...text.matchAll(FORM)].map(([, , action, inside]) => ({
        action: unescape(action),
        fields: Object.fromEntries(
            [...inside.matchAll(INPUT)].map(([tag]) => [attribute(tag, "name"), attribute(tag, "value")]),
        ),
    }));
}
