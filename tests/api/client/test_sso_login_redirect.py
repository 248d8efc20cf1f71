"""Client-server API, `sso_login_redirect.yaml`: logging in to an app by the server's own pages."""

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.api.client.oauth_harness import Browser, OAuthServer, Page
from tests.api.server import PASSWORD, Answer, path_of

REDIRECT = path_of("login", "sso", "redirect")
PAGE = "/_matrix/oauth2/sso"
APP = "https://app.example.com/?a=b#/home"


def link(uri: str | None = APP, **more: str) -> str:
    """Where the app sends the browser."""
    return f"{REDIRECT}?{urlencode(({} if uri is None else {'redirectUrl': uri}) | more)}"


def token_in(page: Page) -> str:
    """The token that the browser has taken to the app."""
    assert page.left_for is not None, page.text
    return parse_qs(urlsplit(page.left_for).query)["loginToken"][0]


async def asked(oauth: OAuthServer, uri: str = APP) -> tuple[Browser, Page]:
    """Alice has logged in, and is asked whether the app is to be let in."""
    browser = oauth.browser()
    return browser, await browser.log_in(await browser.open(link(uri)))


async def log_in(oauth: OAuthServer, token: str) -> Answer:
    return await oauth.nobody.post(path_of("login"), {"type": "m.login.token", "token": token})


async def test_the_whole_way(oauth: OAuthServer) -> None:
    flows = (await oauth.nobody.get(path_of("login"))).ok()["flows"]
    assert {"type": "m.login.sso", "oauth_aware_preferred": True} in flows
    assert "m.login.password" in [flow["type"] for flow in flows]
    browser, page = await asked(oauth)
    for shown in ("app.example.com", "@alice:test.example"):
        assert shown in page.text
    assert "<script" not in page.text
    assert "form-action 'self' https://app.example.com;" in page.headers["content-security-policy"]
    page = await browser.submit(page.form)
    assert page.left_for is not None
    assert page.left_for.startswith("https://app.example.com/?a=b&loginToken=")
    assert page.left_for.endswith("#/home")
    session = (await log_in(oauth, token_in(page))).ok()
    assert session["user_id"] == "@alice:test.example"
    # Once.
    (await log_in(oauth, token_in(page))).error(403, "M_FORBIDDEN")


async def test_the_browser_is_sent_to_the_page(oauth: OAuthServer) -> None:
    answer = await oauth.nobody.get(REDIRECT, redirectUrl=APP)
    assert (answer.status, answer.json) == (302, None)
    assert urlsplit(answer.headers["location"]).path == PAGE


async def test_the_token_is_good_for_a_short_time(oauth: OAuthServer) -> None:
    browser, page = await asked(oauth)
    page = await browser.submit(page.form)
    oauth.clock.ahead_ms += 31_000
    (await log_in(oauth, token_in(page))).error(403, "M_FORBIDDEN")


async def test_no_token_leaves_without_a_word_of_the_user(oauth: OAuthServer) -> None:
    """Not for who is logged in already, not by another site's form, and not if the user says no."""
    browser, _ = await asked(oauth)
    page = await browser.open(link("https://evil.example/"))
    assert page.left_for is None
    assert "evil.example" in page.text
    form = page.form
    forged = await browser.submit(form, 0, form_token="0" * 64)
    assert (forged.status, forged.left_for) == (403, None)
    other_site = await browser.submit(form, 0, {"Sec-Fetch-Site": "cross-site"})
    assert (other_site.status, other_site.left_for) == (403, None)
    denied = await browser.submit(form, 1)
    assert (denied.status, denied.left_for) == (200, None)


async def test_it_can_be_another_user(oauth: OAuthServer) -> None:
    browser, page = await asked(oauth)
    page = await browser.submit(page.forms[1])
    page = await browser.log_in(page, "bob")
    assert "@bob:test.example" in page.text
    session = (await log_in(oauth, token_in(await browser.submit(page.form)))).ok()
    assert session["user_id"] == "@bob:test.example"


async def test_apps_on_the_device(oauth: OAuthServer) -> None:
    for uri, source in (
        ("element://connect", "element:"),
        ("http://localhost:4321/x", "http://localhost:4321"),
    ):
        browser, page = await asked(oauth, uri)
        assert "An app on this device" in page.text
        assert f"form-action 'self' {source};" in page.headers["content-security-policy"]
        page = await browser.submit(page.form)
        assert page.left_for is not None
        assert page.left_for.startswith(f"{uri}?loginToken=")


@pytest.mark.parametrize(
    "uri",
    [None, "", "javascript:alert(1)", "https://good.example@evil.example/", "https://a.example/\r\nX: y"],
)
async def test_where_no_app_is(oauth: OAuthServer, uri: str | None) -> None:
    browser = oauth.browser()
    for url in (link(uri), link(uri).replace(REDIRECT, PAGE)):
        page = await browser.open(url)
        assert (page.status, page.left_for) == (400, None)
        assert "redirectUrl" in page.text
    twice = await browser.open(f"{REDIRECT}?redirectUrl=https://a.example&redirectUrl=https://b.example")
    assert twice.status == 400


async def test_new_users(oauth: OAuthServer) -> None:
    """With `action=register` they come to the page to make an account, and go on from there."""
    browser = oauth.browser()
    page = await browser.open(link(action="register"))
    assert "username" in page.form.fields
    page = await browser.submit(page.form, username="newcomer", password=PASSWORD, again=PASSWORD)
    assert "@newcomer:test.example" in page.text
    session = (await log_in(oauth, token_in(await browser.submit(page.form)))).ok()
    assert session["user_id"] == "@newcomer:test.example"
    # Both pages lead to each other.
    fresh = oauth.browser()
    page = await fresh.open(link(action="login"))
    assert "password" in page.form.fields
    (to_sign_up,) = [each for each in page.links if "sso" in each]
    assert "username" in (await fresh.open(to_sign_up)).form.fields
    assert (await fresh.open(link(action="dance"))).status == 400


async def test_there_are_no_other_identity_providers(oauth: OAuthServer) -> None:
    page = await oauth.browser().open(f"{path_of('login', 'sso', 'redirect', 'github')}?redirectUrl={APP}")
    assert (page.status, page.left_for) == (404, None)


async def test_the_form_needs_a_login(oauth: OAuthServer) -> None:
    _, page = await asked(oauth)
    form = page.form
    assert form.action.startswith(f"{PAGE}?")
    stranger = oauth.browser()
    page = await stranger.submit(form)
    assert page.left_for is None
    assert "password" in page.form.fields


async def test_without_the_pages_there_is_no_sso(alice: Any) -> None:
    flows = (await alice.get(path_of("login"))).ok()["flows"]
    assert "m.login.sso" not in [flow["type"] for flow in flows]
    answer = await alice.request("GET", REDIRECT, query={"redirectUrl": APP}, check=False)
    answer.error(404, "M_UNRECOGNIZED")
