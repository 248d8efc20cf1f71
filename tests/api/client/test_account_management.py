"""Client-server API, "Account management" of the OAuth 2.0 API; MSC4191."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
import pytest

from homeserver.api.client.oauth_server_metadata import ACTIONS
from tests.api.client.mail_harness import serving_mail
from tests.api.client.oauth_harness import BASE, Browser, OAuthServer, Page, app_of, who
from tests.api.client.test_uia_fallback import TOLD_TO_THE_APP, page_of
from tests.api.server import PASSWORD, Client, path_of
from tests.key_holders import DEVICE_SIGNING, Identity, Keys
from tests.openapi import Specification

ACCOUNT = f"{BASE}/_matrix/account"


async def device_of(oauth: OAuthServer, user: str = "alice") -> Client:
    """A device that is logged in by the legacy API."""
    return await oauth.server.device(attrs.evolve(oauth.nobody, user_id=f"@{user}:test.example"))


async def opened(oauth: OAuthServer, action: str = "", **more: str) -> tuple[Browser, Page]:
    """Alice follows a link, and logs in."""
    browser = oauth.browser()
    query = "&".join([f"action={action}", *(f"{name}={value}" for name, value in more.items())])
    page = await browser.open(f"{ACCOUNT}?{query}" if action else ACCOUNT)
    assert page.status == 200
    assert page.form.fields.keys() >= {"user", "password"}
    assert not page.links
    return browser, await browser.log_in(page)


async def test_each_page_leads_to_the_others(oauth: OAuthServer) -> None:
    browser, page = await opened(oauth)
    assert "@alice:test.example" in page.text
    seen: set[str] = set()
    links = {link for link in page.links if link.startswith("/_matrix/account")}
    while links - seen:
        link = (links - seen).pop()
        seen.add(link)
        page = await browser.open(link)
        assert page.status == 200
        assert "<script" not in page.text
        links |= {each for each in page.links if each.startswith("/_matrix/account")}
    for action in ACTIONS:
        assert any(f"action={action}" in link for link in seen), action
    # Out again.
    page = await browser.open(ACCOUNT)
    page = await browser.submit(page.form)
    assert "password" in page.form.fields


async def test_the_name(oauth: OAuthServer) -> None:
    alice = await device_of(oauth)
    browser, page = await opened(oauth, "org.matrix.profile")
    assert page.form.fields["display_name"] == "alice"
    page = await browser.submit(page.form, display_name=" Alice <A> ")
    assert page.form.fields["display_name"] == "Alice <A>"
    path = path_of("profile", alice.user_id)
    assert (await alice.get(path)).ok()["displayname"] == "Alice <A>"
    page = await browser.submit(page.form, display_name="")
    assert "displayname" not in (await alice.get(path)).ok()
    wrong = await browser.submit(page.form, display_name="x" * 60_000)
    assert 400 <= wrong.status < 500
    await oauth.server.restrict(alice, "is_suspended")
    refused = await browser.submit(page.form, display_name="suspended")
    assert refused.status == 403
    assert "suspended" in refused.text


async def test_devices(oauth: OAuthServer) -> None:
    alice = await device_of(oauth)
    (await alice.put(path_of("devices", alice.device_id), {"display_name": "<b>old</b>"})).ok()
    browser, page = await opened(oauth, "org.matrix.devices_list")
    assert "&lt;b&gt;old&lt;/b&gt;" in page.text
    link = next(link for link in page.links if alice.device_id in link)
    page = await browser.open(link)
    assert "last seen" in page.text.lower()
    assert "127.0.0.1" in page.text
    page = await browser.submit(page.form, display_name="new")
    assert "new" in page.text
    assert (await alice.get(path_of("devices", alice.device_id))).ok()["display_name"] == "new"
    too_long = attrs.evolve((await browser.open(link)).form)
    assert (await browser.submit(too_long, display_name="x" * 257)).status == 400


@pytest.mark.parametrize("action", ["org.matrix.device_delete", "org.matrix.session_end", "session_end"])
async def test_logging_a_device_out(oauth: OAuthServer, action: str) -> None:
    """A link does nothing by itself: it says what is about to be done, and asks for the password."""
    alice = await device_of(oauth)
    browser, page = await opened(oauth, action, device_id=alice.device_id)
    assert alice.device_id in page.text
    assert await who(alice) == 200
    wrong = await browser.submit(page.form, password="wrong")
    assert wrong.status == 403
    assert wrong.form.fields["device_id"] == alice.device_id
    assert await who(alice) == 200
    page = await browser.submit(wrong.form, password=PASSWORD)
    assert page.status == 200
    assert alice.device_id not in page.text
    assert await who(alice) == 401


async def test_devices_of_others(oauth: OAuthServer) -> None:
    bob = await device_of(oauth, "bob")
    browser, page = await opened(oauth, "org.matrix.device_delete", device_id=bob.device_id)
    assert page.status == 404
    own = await device_of(oauth)
    link = f"{ACCOUNT}?action=org.matrix.device_delete&device_id={own.device_id}"
    form = (await browser.open(link)).form
    answer = await browser.submit(form, password=PASSWORD, device_id=bob.device_id)
    assert answer.status == 404
    assert await who(bob) == await who(own) == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_actions_that_are_none(oauth: OAuthServer) -> None:
    browser, page = await opened(oauth, "org.matrix.nothing")
    assert page.status == 404
    for action in ("org.matrix.device_view", "org.matrix.device_delete", "session_view"):
        page = await browser.open(f"{ACCOUNT}?action={action}")
        assert "org.matrix.device_view" in page.text or "No app is logged in" in page.text
        for device_id in ("unknown", "%22%3E%3Cscript%3E", "x" * 5_000, "%C3%B6"):
            page = await browser.open(f"{ACCOUNT}?action={action}&device_id={device_id}")
            assert page.status == 404
            assert "<script" not in page.text
    assert (await browser.open(f"{ACCOUNT}?action=%00")).status == 400
    form = (await browser.open(ACCOUNT)).form
    form.action = "/_matrix/account"
    for action in ("", "nothing", "org.matrix.devices_list"):
        assert (await browser.submit(form, action=action)).status in (400, 404)


async def test_closing_the_account(oauth: OAuthServer) -> None:
    alice = await device_of(oauth)
    browser, page = await opened(oauth, "org.matrix.account_deactivate")
    assert "for good" in page.text
    assert (await browser.submit(page.form, password="wrong")).status == 403
    assert await who(alice) == 200
    page = await browser.submit(page.form, password=PASSWORD)
    assert "closed" in page.text
    assert await who(alice) == 401
    page = await browser.open(ACCOUNT)
    assert (await browser.log_in(page)).status == 403


async def test_a_new_password(oauth: OAuthServer) -> None:
    alice = await device_of(oauth)
    other, _ = await opened(oauth)
    browser, page = await opened(oauth, "password")
    new = {"new_password": "new", "again": "new"}
    assert (await browser.submit(page.form, password="wrong", **new)).status == 403
    assert (await browser.submit(page.form, password=PASSWORD, new_password="a", again="b")).status == 400
    assert (await browser.submit(page.form, password=PASSWORD, new_password="", again="")).status == 400
    page = await browser.submit(page.form, password=PASSWORD, **new)
    assert "You are logged in" in page.text
    # Devices stay, if that is wanted; other browsers do not.
    assert await who(alice) == 200
    page = await other.open(ACCOUNT)
    assert (await other.log_in(page)).status == 403
    page = await other.log_in(page, password="new")
    form = (await other.open(f"{ACCOUNT}?action=password")).form
    await other.submit(form, password="new", new_password="newer", again="newer", logout_devices="on")
    assert await who(alice) == 401


async def test_addresses(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    async with serving_mail(database_url, tmp_path, specification) as mailing:
        await mailing.server.user("alice")
        await app_of(mailing.nobody)
        browser = Browser(mailing.server.base_url, mailing.server.pool)
        page = await browser.log_in(await browser.open(f"{ACCOUNT}?action=org.matrix.profile"))
        assert (await browser.submit(page.forms[1], email="no address")).status == 400
        page = await browser.submit(page.forms[1], email="alice@example.org")
        early = await browser.submit(page.form, password=PASSWORD)
        assert early.status == 403
        assert (await mailing.confirm(mailing.post.take("alice@example.org"))).status == 200
        assert (await browser.submit(page.form, password="wrong")).status == 403
        page = await browser.submit(early.form, password=PASSWORD)
        assert "alice@example.org" in page.text
        # One logs in by it.
        other = Browser(mailing.server.base_url, mailing.server.pool)
        shown = await other.log_in(await other.open(ACCOUNT), "alice@example.org")
        assert "@alice:test.example" in shown.text
        page = await browser.submit(page.forms[1])
        assert "Remove" not in page.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_forms_of_other_sites(oauth: OAuthServer) -> None:
    alice = await device_of(oauth)
    browser, page = await opened(oauth, "org.matrix.device_delete", device_id=alice.device_id)
    form = page.form
    for headers, token in (({}, "x" * 64), ({"Sec-Fetch-Site": "cross-site"}, form.fields["form_token"])):
        forged = attrs.evolve(form, fields={**form.fields, "form_token": token})
        assert (await browser.submit(forged, 0, headers, password=PASSWORD)).status == 403
    stranger = oauth.browser()
    page = await stranger.submit(form, password=PASSWORD)
    assert "user" in page.form.fields
    log_out = attrs.evolve(form, action="/_matrix/oauth2/logout/account", fields={"form_token": "x"})
    assert (await browser.submit(log_out)).status == 403
    for then in ("nothing", "%00", "https:"):
        nowhere = attrs.evolve(form, action=f"/_matrix/oauth2/logout/{then}")
        assert (await browser.submit(nowhere)).status in (400, 404)
    assert await who(alice) == 200
    assert "You are logged in" in (await browser.open(ACCOUNT)).text


async def test_resetting_the_cryptographic_identity(oauth: OAuthServer) -> None:
    """Client-server API, "OAuth authentication": an app that is logged in by OAuth 2.0 cannot ask for a password."""
    client = await signed_in(oauth)
    second = Identity(client.user_id, "second")
    asked = await refused_upload(client, second.upload())
    assert asked["flows"] == [{"stages": ["m.oauth"]}]
    url = asked["params"]["m.oauth"]["url"]
    assert url == f"{ACCOUNT}?action=org.matrix.cross_signing_reset"
    auth = {"session": asked["session"]}
    assert (await refused_upload(client, {**second.upload(), "auth": auth}))["flows"] == asked["flows"]
    browser, page = await opened(oauth, "org.matrix.cross_signing_reset")
    assert (await browser.submit(page.form, password="wrong")).status == 403
    assert (await refused_upload(client, {**second.upload(), "auth": auth}))["session"] == asked["session"]
    page = await browser.submit(page.form, password=PASSWORD)
    assert page.status == 200
    assert (await client.post(DEVICE_SIGNING, {**second.upload(), "auth": auth})).ok() == {}
    # It was good once.
    third = Identity(client.user_id, "third").upload()
    auth = {"session": (await refused_upload(client, third))["session"]}
    await refused_upload(client, {**third, "auth": auth})


async def test_a_reset_that_is_repeated_without_a_session(oauth: OAuthServer) -> None:
    """As Element X does it, every half a second, while its user is in the browser."""
    client = await signed_in(oauth)
    body = Identity(client.user_id, "second").upload()
    for _ in range(2):
        assert "errcode" not in await refused_upload(client, body)
    browser, page = await opened(oauth, "org.matrix.cross_signing_reset")
    await browser.submit(page.form, password=PASSWORD)
    assert (await client.post(DEVICE_SIGNING, body)).ok() == {}
    await refused_upload(client, Identity(client.user_id, "third").upload())
    # Too late is too late.
    browser, page = await opened(oauth, "org.matrix.cross_signing_reset")
    await browser.submit(page.form, password=PASSWORD)
    oauth.clock.ahead_ms += 600_001
    await refused_upload(client, Identity(client.user_id, "third").upload())


async def test_a_reset_for_apps_that_show_no_such_step(oauth: OAuthServer) -> None:
    """Client-server API, "Fallback": the page leads to the account, and then tells the app."""
    client = await signed_in(oauth)
    body = Identity(client.user_id, "second").upload()
    asked = await refused_upload(client, body)
    auth = {"session": asked["session"]}
    browser = oauth.browser()
    step = await browser.open(f"{page_of('m.oauth')}?{urlencode(auth)}")
    assert step.status == 200
    assert "replace the cross-signing keys" in step.text
    assert client.user_id in step.text
    assert step.links == [asked["params"]["m.oauth"]["url"]]
    early = await browser.submit(step.form)
    assert early.status == 403
    assert "not been confirmed yet" in early.text
    assert early.links == step.links
    page = await browser.log_in(await browser.open(step.links[0]))
    await browser.submit(page.form, password=PASSWORD)
    done = await browser.submit(early.form)
    assert done.status == 200
    for call in TOLD_TO_THE_APP:
        assert call in done.text
    assert (await client.post(DEVICE_SIGNING, {**body, "auth": auth})).ok() == {}


async def test_a_reset_that_comes_too_late(oauth: OAuthServer) -> None:
    client = await signed_in(oauth)
    body = Identity(client.user_id, "second").upload()
    auth = {"session": (await refused_upload(client, body))["session"]}
    browser, page = await opened(oauth, "org.matrix.cross_signing_reset")
    await browser.submit(page.form, password=PASSWORD)
    oauth.clock.ahead_ms += 600_001
    await refused_upload(client, {**body, "auth": auth})


async def signed_in(oauth: OAuthServer) -> Client:
    """Alice's app, with her first cross-signing keys: those need no confirmation."""
    app = await oauth.app()
    client = app.with_token((await app.log_in(oauth.browser()))["access_token"])
    client.user_id = "@alice:test.example"
    assert (await client.post(DEVICE_SIGNING, Identity(client.user_id).upload())).ok() == {}
    return client


async def refused_upload(client: Client, body: Keys) -> Any:
    """What the client is told of how to authenticate; the specification's description lacks that response."""
    answer = await client.request("POST", DEVICE_SIGNING, body, check=False)
    assert answer.status == 401, answer
    return answer.json
