"""Client-server API, "User registration" of the OAuth 2.0 API: an account is made in the browser."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections import Registration
from homeserver.storage import registration_tokens
from tests.api.client.mail_harness import serving_mail
from tests.api.client.oauth_harness import App, Browser, OAuthServer, Page, app_of, serving_oauth
from tests.api.client.test_registration_stages import POLICIES
from tests.api.server import PASSWORD, Client, path_of
from tests.openapi import Specification

NAME = {"username": "new", "password": PASSWORD, "again": PASSWORD}


async def begin(oauth: OAuthServer) -> tuple[App, Browser, Page]:
    app, browser = await oauth.app(), oauth.browser()
    return app, browser, await browser.open(app.link(prompt="create"))


async def let_in(app: App, browser: Browser, page: Page) -> Client:
    """The page asks whether the app is to be let in; it is."""
    assert page.form.buttons[0] == ("decision", "allow"), page.text
    page = await browser.submit(page.form)
    tokens = (await app.exchange(page.answer["code"])).ok()
    return app.with_token(tokens["access_token"])


async def test_a_name_and_a_password(oauth: OAuthServer) -> None:
    app, browser, page = await begin(oauth)
    page = await browser.submit(page.form, **NAME)
    assert "@new:test.example" in page.text
    new = await let_in(app, browser, page)
    found = (await new.get(path_of("account", "whoami"))).ok()
    assert found["user_id"] == "@new:test.example"
    # The password is one for other logins, too.
    other = oauth.browser()
    page = await other.log_in(await other.open(app.link()), "new")
    assert "@new:test.example" in page.text


async def test_what_cannot_be(oauth: OAuthServer) -> None:
    app, browser, page = await begin(oauth)
    for changed, status, text in (
        ({"username": "alice"}, 400, "taken"),
        ({"username": "Alice"}, 400, "taken"),
        ({"username": "ö"}, 400, ""),
        ({"username": '"><script>alert(1)</script>'}, 400, ""),
        ({"username": ""}, 400, ""),
        ({"password": "", "again": ""}, 400, "empty"),
        ({"again": "other"}, 400, "not the same"),
        ({"password": "x" * 1_025, "again": "x" * 1_025}, 400, "longer"),
    ):
        again = await browser.submit(page.form, **{**NAME, **changed})
        assert again.status == status
        assert text in again.text
        assert "<script" not in again.text
        assert again.form.fields["username"] == {**NAME, **changed}["username"]
        assert again.form.fields["password"] == ""
    page = await browser.submit(page.form, **NAME)
    await let_in(app, browser, page)


async def test_who_has_an_account_goes_to_the_other_page(oauth: OAuthServer) -> None:
    app, browser, page = await begin(oauth)
    (link,) = page.links
    page = await browser.open(link)
    assert "user" in page.form.fields
    # And back: `prompt` is there once.
    (link,) = page.links
    assert link.count("prompt=create") == 1
    page = await browser.open(link)
    assert "username" in page.form.fields
    page = await browser.submit(page.form, **NAME)
    await let_in(app, browser, page)
    # Who is logged in may want another account nevertheless.
    page = await browser.open(app.link(prompt="create"))
    page = await browser.submit(page.form, **{**NAME, "username": "newer"})
    assert "@newer:test.example" in page.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_forms_of_other_sites(oauth: OAuthServer) -> None:
    _, _, page = await begin(oauth)
    victim = oauth.browser()
    assert (await victim.submit(page.form, **NAME)).status == 403
    await oauth.server.user("new")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_closed(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    closed = Registration(enabled=False)
    async with serving_oauth(database_url, tmp_path, specification, registration=closed) as oauth:
        app = await oauth.app()
        browser = oauth.browser()
        page = await browser.open(app.link(prompt="create"))
        assert page.status == 403
        page = await browser.open(page.links[0])
        assert not page.links
        form = page.form
        form.action = form.action.replace("/login/authorize", "/signup/authorize")
        refused = await browser.submit(form, **NAME)
        assert refused.status == 403
        answer = await oauth.nobody.get(path_of("profile", "@new:test.example"))
        answer.error(404, "M_NOT_FOUND")


async def test_all_that_the_server_asks_for(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """A registration token, policies, an address: one step after the other, without a script."""
    asks = {"requires_token": True, "requires_email": True, "policies": POLICIES}
    async with serving_mail(database_url, tmp_path, specification, registration=asks) as mailing:
        await mailing.server.server.database.write(
            registration_tokens.add, "good", uses_allowed=1, expires_ts=None
        )
        app = await app_of(mailing.nobody)
        browser = Browser(mailing.server.base_url, mailing.server.pool)
        page = await browser.submit((await browser.open(app.link(prompt="create"))).form, **NAME)
        assert "token" in page.form.fields
        assert (await browser.submit(page.form, token="")).status == 400
        wrong = await browser.submit(page.form, token="bad")
        assert wrong.status == 403
        page = await browser.submit(wrong.form, token="good")
        for policy in POLICIES:
            assert policy.texts[0].url in page.text
        assert (await browser.submit(page.form, **{"policy-1": "on"})).status == 400
        page = await browser.submit(page.form, **{"policy-1": "on", "policy-2": "on"})
        assert len(page.forms) == 1  # an address is not to be skipped
        bad = await browser.submit(page.form, email="no address")
        assert bad.status == 400
        page = await browser.submit(bad.form, email="new@example.org")
        early = await browser.submit(page.form)
        assert early.status == 401
        assert early.form.fields["sid"] == page.form.fields["sid"]
        assert (await mailing.confirm(mailing.post.take("new@example.org"))).status == 200
        new = await let_in(app, browser, await browser.submit(early.form))
        found = (await new.get(path_of("account", "3pid"))).ok()["threepids"]
        assert [each["address"] for each in found] == ["new@example.org"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_address_that_is_not_asked_for(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    async with serving_mail(database_url, tmp_path, specification) as mailing:
        app = await app_of(mailing.nobody)
        browser = Browser(mailing.server.base_url, mailing.server.pool)
        page = await browser.submit((await browser.open(app.link(prompt="create"))).form, **NAME)
        assert "email" in page.form.fields
        page = await browser.submit(page.forms[1])
        new = await let_in(app, browser, page)
        assert (await new.get(path_of("account", "3pid"))).ok()["threepids"] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_steps_that_are_none(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    asks: dict[str, Any] = {"requires_token": True}
    async with serving_mail(database_url, tmp_path, specification, registration=asks) as mailing:
        app = await app_of(mailing.nobody)
        browser = Browser(mailing.server.base_url, mailing.server.pool)
        page = await browser.submit((await browser.open(app.link(prompt="create"))).form, **NAME)
        session = page.form.fields["session"]
        for changed in (
            {"stage": "m.login.terms"},
            {"stage": "m.login.dummy"},
            {"stage": "m.login.password"},
            {"stage": "nonsense"},
            {"session": "unknown"},
            {"session": ""},
        ):
            answer = await browser.submit(page.form, **{"token": "x", **changed})
            assert 400 <= answer.status < 500
            assert answer.left_for is None
        mailing.clock.ahead_ms += 3_600_000
        answer = await browser.submit(page.form, token="x", session=session)
        assert answer.status == 404
        assert "username" in answer.form.fields
