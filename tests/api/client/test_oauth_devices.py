"""Client-server API, "Device authorisation flow"; RFC 8628: a device without a browser shows a code."""

from typing import Any

import attrs
import pytest

from tests.api.client.oauth_harness import (
    BASE,
    DEVICE_CODE,
    App,
    Browser,
    OAuthServer,
    Page,
    refused,
    who,
)
from tests.api.server import Answer, path_of

LINK = f"{BASE}/_matrix/oauth2/link"


async def begin(app: App) -> Any:
    return (await app.call("device_authorization", {"client_id": app.client_id, "scope": app.scope})).ok()


async def poll(app: App, begun: Any, **changed: str | None) -> Answer:
    return await app.token(**{"grant_type": DEVICE_CODE, "device_code": begun["device_code"], **changed})


async def asked(oauth: OAuthServer, url: str) -> tuple[Browser, Page]:
    """Alice opens a page, and logs in."""
    browser = oauth.browser()
    return browser, await browser.log_in(await browser.open(url))


async def test_the_whole_way(oauth: OAuthServer) -> None:
    app = await oauth.app()
    begun = await begin(app)
    assert begun["verification_uri"] == LINK
    assert begun["verification_uri_complete"] == f"{LINK}?user_code={begun['user_code']}"
    assert (begun["expires_in"], begun["interval"]) == (900, 5)
    refused(await poll(app, begun), "authorization_pending")
    browser, page = await asked(oauth, begun["verification_uri"])
    page = await browser.submit(page.form, user_code=begun["user_code"].lower().replace("-", " "))
    for shown in (begun["user_code"], "An app", "example.com", "@alice:test.example"):
        assert shown in page.text
    oauth.clock.ahead_ms += 5_000
    refused(await poll(app, begun), "authorization_pending")
    page = await browser.submit(page.form)
    assert "is let in" in page.text
    tokens = (await poll(app, begun)).ok()
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert tokens["scope"] == app.scope
    alice = app.with_token(tokens["access_token"])
    found = (await alice.get(path_of("account", "whoami"))).ok()
    assert (found["user_id"], found["device_id"]) == ("@alice:test.example", app.device_id)
    (await app.refresh(tokens["refresh_token"])).ok()
    refused(await poll(app, begun), "invalid_grant")


async def test_the_link_that_has_the_code(oauth: OAuthServer) -> None:
    """The code is shown and asked about all the same: somebody else may have sent the link."""
    app = await oauth.app()
    begun = await begin(app)
    browser, page = await asked(oauth, begun["verification_uri_complete"])
    assert begun["user_code"] in page.text
    refused(await poll(app, begun), "authorization_pending")
    await browser.submit(page.form)
    (await poll(app, begun)).ok()


async def test_the_user_says_no(oauth: OAuthServer) -> None:
    app = await oauth.app()
    begun = await begin(app)
    browser, page = await asked(oauth, begun["verification_uri_complete"])
    said = await browser.submit(page.form, 1)
    assert "was not let in" in said.text
    # That is how it stays.
    assert (await browser.submit(page.form)).status == 404
    assert (await browser.open(begun["verification_uri_complete"])).status == 404
    refused(await poll(app, begun), "access_denied")
    refused(await poll(app, begun), "invalid_grant")


async def test_who_asks_too_often(oauth: OAuthServer) -> None:
    """ "The interval MUST be increased by 5 seconds for this and all subsequent requests." """
    app = await oauth.app()
    begun = await begin(app)
    refused(await poll(app, begun), "authorization_pending")
    refused(await poll(app, begun), "slow_down")
    oauth.clock.ahead_ms += 9_000
    refused(await poll(app, begun), "slow_down")
    oauth.clock.ahead_ms += 15_000
    refused(await poll(app, begun), "authorization_pending")
    # Another device does not wait with it.
    other = attrs.evolve(app, device_id="OTHER")
    second = await begin(other)
    refused(await poll(other, second), "authorization_pending")
    # Once it is let in there is nothing to wait for.
    browser, page = await asked(oauth, begun["verification_uri_complete"])
    await browser.submit(page.form)
    (await poll(app, begun)).ok()


async def test_codes_expire(oauth: OAuthServer) -> None:
    app = await oauth.app()
    begun, granted = await begin(app), await begin(app)
    browser, page = await asked(oauth, granted["verification_uri_complete"])
    await browser.submit(page.form)
    page = await browser.open(begun["verification_uri_complete"])
    oauth.clock.ahead_ms += 901_000
    assert (await browser.submit(page.form)).status == 404
    for each in (begun, granted):
        refused(await poll(app, each), "expired_token")
    assert (await browser.open(begun["verification_uri_complete"])).status == 404
    # After another hour nothing is known of it.
    oauth.clock.ahead_ms += 3_600_000
    await begin(app)
    refused(await poll(app, begun), "invalid_grant")


async def test_what_is_refused(oauth: OAuthServer) -> None:
    app, other = await oauth.app(), await oauth.app(client_name="Another app")
    begun = await begin(app)
    refused(await poll(app, begun, client_id=other.client_id), "invalid_grant")
    refused(await poll(app, begun, client_id="unknown"), "invalid_client", 401)
    refused(await poll(app, begun, device_code="unknown"), "invalid_grant")
    refused(await poll(app, begun, device_code=None), "invalid_request")
    given: dict[str, str | None] = {"client_id": app.client_id, "scope": app.scope}
    for changed, code, status in (
        ({"client_id": None}, "invalid_request", 400),
        ({"client_id": "unknown"}, "invalid_client", 401),
        ({"scope": None}, "invalid_scope", 400),
        ({"scope": "openid"}, "invalid_scope", 400),
    ):
        answer = await app.call("device_authorization", {**given, **changed})
        refused(answer, code, status)
    web = await oauth.app(grant_types=["authorization_code", "refresh_token"])
    answer = await web.call("device_authorization", {**given, "client_id": web.client_id})
    refused(answer, "unauthorized_client")
    refused(await poll(web, begun), "unauthorized_client")


async def test_codes_that_nobody_shows(oauth: OAuthServer) -> None:
    browser, page = await asked(oauth, LINK)
    for typed in ("BCDF-GHJK", "x", "aeiou", "ö", "\x01", "B" * 1_000, '"><script>alert(1)</script>'):
        answer = await browser.submit(page.form, user_code=typed)
        assert answer.status == 404
        assert "<script" not in answer.text
        assert answer.form.fields == {"user_code": ""}
    assert (await browser.submit(page.form, user_code="")).status == 200


async def test_forms_of_other_sites(oauth: OAuthServer) -> None:
    app = await oauth.app()
    begun = await begin(app)
    browser, page = await asked(oauth, begun["verification_uri_complete"])
    forged = attrs.evolve(page.form, fields={**page.form.fields, "form_token": "x" * 64})
    assert (await browser.submit(forged)).status == 403
    bare = oauth.browser()
    assert "password" in (await bare.submit(page.form)).form.fields
    refused(await poll(app, begun), "authorization_pending")


async def test_an_account_that_is_locked_meanwhile(oauth: OAuthServer) -> None:
    app = await oauth.app()
    begun, second = await begin(app), await begin(app)
    browser, page = await asked(oauth, begun["verification_uri_complete"])
    await browser.submit(page.form)
    page = await browser.open(second["verification_uri_complete"])
    alice = await oauth.server.device(attrs.evolve(oauth.nobody, user_id="@alice:test.example"))
    await oauth.server.restrict(alice, "is_locked")
    assert "password" in (await browser.submit(page.form)).form.fields
    refused(await poll(app, begun), "invalid_grant")
    refused(await poll(app, second), "authorization_pending")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_new_password_lets_nothing_in(oauth: OAuthServer) -> None:
    """Who changes the password because somebody knows it has nobody in the house afterwards."""
    app = await oauth.app()
    begun = await begin(app)
    browser, page = await asked(oauth, begun["verification_uri_complete"])
    await browser.submit(page.form)
    accounts = oauth.server.server.services.accounts
    await accounts.set_password("@alice:test.example", "new", logout_devices=True)  # type: ignore[arg-type]  # a user ID
    refused(await poll(app, begun), "invalid_grant")
    assert "password" in (await browser.open(LINK)).form.fields
    assert await who(oauth.nobody) == 401
