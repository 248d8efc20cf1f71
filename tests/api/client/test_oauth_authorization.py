"""Client-server API, "OAuth 2.0 API": an app is let in by a browser, and what others try instead."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest

from homeserver.config.sections import Bucket, RateLimits
from homeserver.storage import oauth_clients
from tests.api.client.mail_harness import HOUR_MS
from tests.api.client.oauth_harness import (
    APP,
    BASE,
    FORM,
    REDIRECT,
    App,
    Browser,
    OAuthServer,
    Page,
    refused,
    serving_oauth,
    who,
)
from tests.api.client.test_strange_values import STRANGE, strangely
from tests.api.server import PASSWORD, path_of
from tests.openapi import Specification

AUTHORIZE = "/_matrix/oauth2/authorize"
DAY_MS = 24 * HOUR_MS


async def consent(oauth: OAuthServer, app: App, **changed: str) -> tuple[Browser, Page]:
    """Alice is asked whether the app is to be let in."""
    browser = oauth.browser()
    page = await browser.open(app.link(**changed))
    return browser, await browser.log_in(page)


async def code_for(oauth: OAuthServer, app: App) -> str:
    browser, page = await consent(oauth, app)
    return (await browser.submit(page.form)).answer["code"]


async def test_the_whole_way(oauth: OAuthServer) -> None:
    app = await oauth.app()
    browser = oauth.browser()
    page = await browser.open(app.link())
    assert page.status == 200
    assert "<script" not in page.text
    page = await browser.log_in(page)
    for shown in ("An app", "example.com", "@alice:test.example", APP["tos_uri"], APP["policy_uri"]):
        assert shown in page.text
    assert "form-action 'self' https://app.example.com;" in page.headers["content-security-policy"]
    page = await browser.submit(page.form)
    assert page.left_for is not None
    assert page.left_for.startswith(f"{REDIRECT}#")
    assert page.answer.keys() == {"code", "state", "iss"}
    assert page.answer["iss"] == app.metadata["issuer"]
    answer = await app.exchange(page.answer["code"])
    tokens = answer.ok()
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", app.scope)
    assert 0 < tokens["expires_in"] <= 3_600
    assert answer.headers["cache-control"] == "no-store"
    alice = app.with_token(tokens["access_token"])
    asked = (await alice.get(path_of("account", "whoami"))).ok()
    assert asked == {"user_id": "@alice:test.example", "device_id": app.device_id}
    device = (await alice.get(path_of("devices", app.device_id))).ok()
    assert device["display_name"] == "An app"
    await alice.create_room()


async def test_the_query_of_a_redirect_uri_stays(oauth: OAuthServer) -> None:
    app = await oauth.app()
    browser, page = await consent(
        oauth, app, redirect_uri="https://app.example.com/other?a=b", response_mode="query"
    )
    page = await browser.submit(page.form)
    assert page.left_for is not None
    parts = urlsplit(page.left_for)
    assert parts.fragment == ""
    found = parse_qs(parts.query)
    assert found["a"] == ["b"]
    assert found["state"] == [app.state]
    (await app.exchange(found["code"][0], redirect_uri="https://app.example.com/other?a=b")).ok()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_native_apps(oauth: OAuthServer) -> None:
    app = await oauth.app(
        application_type="native", redirect_uris=["com.example.app:/callback", "http://127.0.0.1/callback"]
    )
    for uri, source in (
        ("com.example.app:/callback", "com.example.app:"),
        ("http://127.0.0.1:43210/callback", "http://127.0.0.1:43210"),
    ):
        browser, page = await consent(oauth, app, redirect_uri=uri, response_mode="query")
        assert "the app on this device" in page.text
        assert "says that it is of" in page.text
        assert f"form-action 'self' {source};" in page.headers["content-security-policy"]
        page = await browser.submit(page.form)
        assert page.left_for is not None
        assert page.left_for.startswith(f"{uri}?")
        (await app.exchange(page.answer["code"], redirect_uri=uri)).ok()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_scopes_of_todays_clients(oauth: OAuthServer) -> None:
    app = await oauth.app()
    unstable = "urn:matrix:org.matrix.msc2967.client"
    scope = f"openid {unstable}:api:* {unstable}:device:OLDFORM"
    browser, page = await consent(oauth, app, scope=scope, prompt="consent")
    tokens = (await app.exchange((await browser.submit(page.form)).answer["code"])).ok()
    assert tokens["scope"] == scope.removeprefix("openid ")
    asked = (await app.with_token(tokens["access_token"]).get(path_of("account", "whoami"))).ok()
    assert asked["device_id"] == "OLDFORM"


async def test_the_user_says_no(oauth: OAuthServer) -> None:
    app = await oauth.app()
    browser, page = await consent(oauth, app)
    page = await browser.submit(page.form, 1)
    assert page.answer["error"] == "access_denied"
    assert page.answer["state"] == app.state
    assert "code" not in page.answer


async def test_who_is_logged_in_is_only_asked(oauth: OAuthServer) -> None:
    browser = oauth.browser()
    first, second = await oauth.app(), await oauth.app(client_name="Another app")
    await first.log_in(browser)
    page = await browser.open(second.link())
    assert "Another app" in page.text
    assert "@alice:test.example" in page.text
    # It may also be another user, at the app's wish or the user's own.
    assert "password" in (await browser.open(second.link(prompt="login"))).form.fields
    page = await browser.submit(page.forms[1])
    page = await browser.log_in(page, "bob")
    assert "@bob:test.example" in page.text
    tokens = (await second.exchange((await browser.submit(page.form)).answer["code"])).ok()
    asked = (await second.with_token(tokens["access_token"]).get(path_of("account", "whoami"))).ok()
    assert asked["user_id"] == "@bob:test.example"
    # After an hour nobody is logged in any more.
    oauth.clock.ahead_ms += HOUR_MS
    assert "password" in (await browser.open(first.link())).form.fields


async def test_wrong_passwords(oauth: OAuthServer) -> None:
    app = await oauth.app()
    browser = oauth.browser()
    page = await browser.open(app.link())
    for user, password in (
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("", ""),
        ("a@b.c", PASSWORD),
        ("\x01", "x"),
    ):
        again = await browser.submit(page.form, user=user, password=password)
        assert again.status == 403
        assert "The user name or the password is wrong" in again.text
        assert again.form.fields["user"] == user.strip()
        assert again.form.action == page.form.action


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_guesses_are_counted_with_those_of_the_legacy_api(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    many = Bucket(per_second=1_000, burst=1_000)
    limits = RateLimits(login=many, updates=many, registration=many)
    async with serving_oauth(database_url, tmp_path, specification, rate_limits=limits) as oauth:
        await oauth.server.user("alice")
        app = await oauth.app()
        browser = oauth.browser()
        page = await browser.open(app.link())
        for _ in range(10):
            again = await browser.submit(page.form, user="alice", password="wrong")
            assert again.status == 403
        again = await browser.submit(page.form, user="@ALICE:test.example", password=PASSWORD)
        assert again.status == 429
        assert again.form.action == page.form.action
        name = {"type": "m.id.user", "user": "alice"}
        body = {"type": "m.login.password", "identifier": name, "password": PASSWORD}
        (await oauth.nobody.post(path_of("login"), body)).error(429, "M_LIMIT_EXCEEDED")


async def test_locked_suspended_and_closed_accounts(oauth: OAuthServer) -> None:
    app = await oauth.app()
    browser, page = await consent(oauth, app)
    code = (await browser.submit(page.form)).answer["code"]
    alice = await oauth.server.device(attrs.evolve(oauth.nobody, user_id="@alice:test.example"))
    await oauth.server.restrict(alice, "is_suspended")
    tokens = (await app.exchange(code)).ok()
    suspended = app.with_token(tokens["access_token"])
    (await suspended.post(path_of("createRoom"), {})).error(403, "M_USER_SUSPENDED")
    waiting = await oauth.app(client_name="Waiting")
    code = (await browser.submit((await browser.open(waiting.link())).form)).answer["code"]
    await oauth.server.restrict(alice, "is_locked")
    refused(await waiting.exchange(code), "invalid_grant")
    page = await browser.open(app.link())
    again = await browser.log_in(page)
    assert again.status == 401
    assert "locked" in again.text
    # "Servers SHOULD NOT invalidate access tokens on locked accounts": apps that refresh meanwhile stay logged in.
    tokens = (await app.refresh(tokens["refresh_token"])).ok()
    (await app.with_token(tokens["access_token"]).get(path_of("sync"))).error(401, "M_USER_LOCKED")


async def test_an_account_that_is_closed_meanwhile(oauth: OAuthServer) -> None:
    app, waiting = await oauth.app(), await oauth.app(client_name="Waiting")
    browser = oauth.browser()
    tokens = await app.log_in(browser)
    code = (await browser.submit((await browser.open(waiting.link())).form)).answer["code"]
    oauth_accounts = oauth.server.server.services.accounts
    await oauth_accounts.deactivate("@alice:test.example", erase=False)  # type: ignore[arg-type]  # a user ID
    refused(await waiting.exchange(code), "invalid_grant")
    refused(await app.refresh(tokens["refresh_token"]), "invalid_grant")
    assert await who(app.with_token(tokens["access_token"])) == 401
    page = await browser.open(app.link())
    assert (await browser.log_in(page)).status == 403


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_requests_that_nobody_can_be_told_of(oauth: OAuthServer) -> None:
    """ "MUST NOT automatically redirect the user-agent to the invalid redirection URI"."""
    app = await oauth.app()
    browser = oauth.browser()
    for link in (
        app.link(client_id="unknown"),
        app.link(without="client_id"),
        app.link(without="redirect_uri"),
        app.link(redirect_uri="https://evil.example/"),
        app.link(redirect_uri=f"{REDIRECT}/"),
        app.link(redirect_uri=f"{REDIRECT}?x"),
        app.link(redirect_uri=""),
        app.link() + f"&client_id={app.client_id}",
        app.link() + "&redirect_uri=https%3A%2F%2Fevil.example%2F",
        f"{BASE}{AUTHORIZE}",
        f"{BASE}{AUTHORIZE}?client_id=%",
        f"{BASE}{AUTHORIZE}?client_id=%00",
        app.link(redirect_uri='"><script>alert(1)</script>'),
    ):
        page = await browser.open(link)
        assert page.status == 400
        assert not page.links
        assert "<script" not in page.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"without": "response_type"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"without": "code_challenge"}, "invalid_request"),
        ({"without": "code_challenge_method"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"without": "scope"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        (
            {"scope": "urn:matrix:client:api:* urn:matrix:client:device:A urn:matrix:client:device:B"},
            "invalid_scope",
        ),
        ({"prompt": "none"}, "interaction_required"),
    ],
)
async def test_requests_that_cannot_be(oauth: OAuthServer, changed: dict[str, str], code: str) -> None:
    """The app is told, if its user goes on: nobody is sent to an app of a stranger without being asked."""
    app = await oauth.app()
    page = await oauth.browser().open(app.link(**changed))
    assert page.status == 400
    (link,) = page.links
    parts = urlsplit(link)
    mode = "query" if changed.get("response_mode") else "fragment"
    assert link.startswith(f"{REDIRECT}{'?' if mode == 'query' else '#'}")
    told = parse_qs(parts.query if mode == "query" else parts.fragment)
    assert told["error"] == [code]
    assert told["state"] == [app.state]
    assert told["iss"] == [app.metadata["issuer"]]


async def test_a_client_that_is_not_registered_for_codes(oauth: OAuthServer) -> None:
    app = await oauth.app(grant_types=["urn:ietf:params:oauth:grant-type:device_code"])
    page = await oauth.browser().open(app.link())
    assert page.status == 400
    assert "unauthorized_client" in page.links[0]
    refused(await app.exchange("x"), "unauthorized_client")
    refused(await app.refresh("x"), "unauthorized_client")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_forms_of_other_sites(oauth: OAuthServer) -> None:
    """Neither lets somebody in, nor logs anybody in as somebody else."""
    app = await oauth.app()
    browser, page = await consent(oauth, app)
    good = page.form
    for token in (None, "", "x" * 64, good.fields["form_token"][:-1] + "ö"):
        forged = attrs.evolve(good, fields={} if token is None else {"form_token": token})
        refusal = await browser.submit(forged)
        assert (refusal.status, refusal.left_for) == (403, None)
    # A token that somebody else was given.
    _, other_page = await consent(oauth, app)
    assert (await browser.submit(other_page.form)).status == 403
    # Without the cookie, which browsers send with no form of another site, nobody is logged in.
    bare = oauth.browser()
    page = await bare.submit(good)
    assert "password" in page.form.fields
    for site in ("cross-site", "same-site"):
        refusal = await browser.submit(good, 0, {"Sec-Fetch-Site": site})
        assert (refusal.status, refusal.left_for) == (403, None)
    # To log in takes a form of ours, too.
    login = (await oauth.browser().open(app.link())).form
    victim = oauth.browser()
    refusal = await victim.submit(login, user="bob", password=PASSWORD)
    assert refusal.status == 403
    assert not victim.cookies
    assert (await browser.submit(good, 0, {"Sec-Fetch-Site": "same-origin"})).left_for is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_cookie(oauth: OAuthServer) -> None:
    app = await oauth.app()
    browser = oauth.browser()
    page = await browser.open(app.link())
    before = dict(browser.cookies)
    await browser.log_in(page)
    assert before.keys() == browser.cookies.keys() == {"__Host-homeserver"}
    # What somebody may have planted before the login is good for nothing after it.
    assert before != browser.cookies
    for each in browser.set_cookies:
        parts = [part.strip() for part in each.split(";")[1:]]
        assert set(parts) == {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
    planted = oauth.browser()
    planted.cookies = before
    assert "password" in (await planted.open(app.link())).form.fields
    for strange in ("", "x", "ö", "x" * 43, "a=b; c", '"x"'):
        planted.cookies = {"__Host-homeserver": strange.encode().decode("latin-1")}
        assert (await planted.open(app.link())).status == 200


async def test_a_code_is_good_once(oauth: OAuthServer) -> None:
    """If it comes again, whoever has sent it, the session that it has led to is one too many."""
    app = await oauth.app()
    code = await code_for(oauth, app)
    tokens = (await app.exchange(code)).ok()
    tokens = (await app.refresh(tokens["refresh_token"])).ok()
    alice = app.with_token(tokens["access_token"])
    assert await who(alice) == 200
    # Who does not know the verifier cannot end it.
    refused(await app.exchange(code, code_verifier="x" * 43), "invalid_grant")
    assert await who(alice) == 200
    refused(await app.exchange(code), "invalid_grant")
    assert await who(alice) == 401
    refused(await app.refresh(tokens["refresh_token"]), "invalid_grant")
    # Another session of the same device is not touched.
    tokens = await app.log_in(oauth.browser())
    refused(await app.exchange(code), "invalid_grant")
    assert await who(app.with_token(tokens["access_token"])) == 200


async def test_codes_that_are_not_good(oauth: OAuthServer) -> None:
    app, other = await oauth.app(), await oauth.app(client_name="Another app")
    code = await code_for(oauth, app)
    wrong: list[Mapping[str, str | None]] = [
        {"code_verifier": "x" * 43},
        {"code_verifier": "short"},
        {"redirect_uri": "https://app.example.com/other?a=b"},
        {"redirect_uri": "https://evil.example/"},
        {"client_id": other.client_id},
        {"code": "x"},
        {"code": "ö"},
        {"code": code + "x"},
    ]
    for changed in wrong:
        refused(await app.token(**{**app.proof(code), **changed}), "invalid_grant")
    for missing in ("code", "redirect_uri", "code_verifier", "client_id", "grant_type"):
        refused(await app.token(**{**app.proof(code), missing: None}), "invalid_request")
        refused(await app.token(**{**app.proof(code), missing: ""}), "invalid_request")
    refused(await app.exchange(code, grant_type="password"), "unsupported_grant_type")
    refused(await app.exchange(code, client_id="unknown"), "invalid_client", 401)
    # None of that has used it up; time does.
    oauth.clock.ahead_ms += 119_000
    (await app.exchange(code)).ok()
    late = await code_for(oauth, app)
    oauth.clock.ahead_ms += 121_000
    refused(await app.exchange(late), "invalid_grant")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_requests_for_tokens_come_as_forms(oauth: OAuthServer) -> None:
    app = await oauth.app()
    path = app.metadata["token_endpoint"].removeprefix(BASE)
    code = await code_for(oauth, app)
    body = {"grant_type": "authorization_code", "client_id": app.client_id, "code": code}
    for kind, sent in (
        ("application/json", b"{}"),
        ("text/plain", urlencode(body).encode()),
        ("multipart/form-data; boundary=x", urlencode(body).encode()),
        (FORM["Content-Type"], b"a=%"),
        (FORM["Content-Type"], b"a=\xff"),
        (FORM["Content-Type"], b""),
        (FORM["Content-Type"], urlencode([*body.items(), ("code", code)]).encode()),
    ):
        answer = await oauth.nobody.request("POST", path, sent, headers={"Content-Type": kind}, check=False)
        refused(answer, "invalid_request")
    basic = {"Authorization": "Basic Y2xpZW50OnNlY3JldA=="}
    answer = await app.call("token", body, basic)
    refused(answer, "invalid_client", 401)
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "www-authenticate" not in (await app.token(grant_type="refresh_token", client_id="x")).headers


async def test_a_login_replaces_the_tokens_of_its_device(oauth: OAuthServer) -> None:
    """ "The server will invalidate any access and refresh tokens previously assigned to that device." """
    app = await oauth.app()
    first = await app.log_in(oauth.browser())
    second = await app.log_in(oauth.browser())
    assert await who(app.with_token(first["access_token"])) == 401
    refused(await app.refresh(first["refresh_token"]), "invalid_grant")
    assert await who(app.with_token(second["access_token"])) == 200
    # The old token was nobody's any more, so it was no sign of a thief.
    alice = app.with_token(second["access_token"])
    devices = (await alice.get(path_of("devices"))).ok()["devices"]
    assert [device["device_id"] for device in devices].count(app.device_id) == 1


async def test_refreshing(oauth: OAuthServer) -> None:
    app = await oauth.app()
    first = await app.log_in(oauth.browser())
    oauth.clock.ahead_ms += HOUR_MS + 1_000
    alice = app.with_token(first["access_token"])
    expired = (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    assert expired["soft_logout"] is True
    lost = (await app.refresh(first["refresh_token"])).ok()
    # The answer may be lost, so the old one is good until a new one is used.
    second = (await app.refresh(first["refresh_token"])).ok()
    assert second.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert await who(app.with_token(second["access_token"])) == 200
    assert await who(app.with_token(lost["access_token"])) == 401
    third = (await app.refresh(second["refresh_token"])).ok()
    assert await who(app.with_token(third["access_token"])) == 200
    # An old one that comes now was stolen, or it is the thief who has the new one: nobody keeps the session.
    refused(await app.refresh(first["refresh_token"]), "invalid_grant")
    assert await who(app.with_token(third["access_token"])) == 401
    refused(await app.refresh(third["refresh_token"]), "invalid_grant")


async def test_refresh_tokens_are_their_clients(oauth: OAuthServer) -> None:
    app, other = await oauth.app(), await oauth.app(client_name="Another app")
    tokens = await app.log_in(oauth.browser())
    refused(await other.refresh(tokens["refresh_token"]), "invalid_grant")
    refused(await app.refresh(tokens["refresh_token"], client_id="unknown"), "invalid_client", 401)
    for wrong in ("x", "x.y", ".", "ö"):
        refused(await app.refresh(wrong), "invalid_grant")
    refused(await app.refresh(tokens["refresh_token"], scope="urn:matrix:client:api:*"), "invalid_scope")
    more = "urn:matrix:client:api:* urn:matrix:client:device:OTHER"
    refused(await app.refresh(tokens["refresh_token"], scope=more), "invalid_scope")
    again = (await app.refresh(tokens["refresh_token"], scope=app.scope)).ok()
    assert again["scope"] == app.scope


async def test_neither_api_takes_the_refresh_tokens_of_the_other(oauth: OAuthServer) -> None:
    app = await oauth.app()
    tokens = await app.log_in(oauth.browser())
    legacy = path_of("refresh")
    answer = await oauth.nobody.post(legacy, {"refresh_token": tokens["refresh_token"]})
    answer.error(401, "M_UNKNOWN_TOKEN")
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bob"},
        "password": PASSWORD,
        "refresh_token": True,
    }
    bob = (await oauth.nobody.post(path_of("login"), body)).ok()
    refused(await app.refresh(bob["refresh_token"]), "invalid_grant")
    (await oauth.nobody.post(legacy, {"refresh_token": bob["refresh_token"]})).ok()
    assert await who(app.with_token(tokens["access_token"])) == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revocation(oauth: OAuthServer, kind: str) -> None:
    """ "The server MUST revoke both the access token and refresh token associated with the token"."""
    app = await oauth.app()
    bystander = await oauth.app(client_name="Another app")
    browser = oauth.browser()
    tokens, others = await app.log_in(browser), await bystander.log_in(browser)
    answer = await app.revoke(tokens[kind], token_type_hint=kind, client_id=app.client_id)
    assert answer.status == 200
    alice = app.with_token(tokens["access_token"])
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    refused(await app.refresh(tokens["refresh_token"]), "invalid_grant")
    other = bystander.with_token(others["access_token"])
    ids = [device["device_id"] for device in (await other.get(path_of("devices"))).ok()["devices"]]
    assert app.device_id not in ids
    assert bystander.device_id in ids
    # "If the token is already revoked or invalid, the server returns a `200 OK` response".
    for token in (tokens[kind], "unknown", "a.b"):
        assert (await app.revoke(token)).status == 200


async def test_whoever_finds_a_token_may_revoke_it(oauth: OAuthServer) -> None:
    app, other = await oauth.app(), await oauth.app(client_name="Another app")
    more: list[dict[str, str | None]] = [
        {},
        {"client_id": other.client_id},
        {"client_id": "unknown"},
        {"token_type_hint": "nonsense"},
    ]
    for each in more:
        tokens = await app.log_in(oauth.browser())
        assert (await app.revoke(tokens["access_token"], **each)).status == 200
        assert await who(app.with_token(tokens["access_token"])) == 401
    refused(await app.call("revocation", {}), "invalid_request")
    # An app that has lost the answer of its last refresh gives back what it has.
    first = await app.log_in(oauth.browser())
    second = (await app.refresh(first["refresh_token"])).ok()
    assert await who(app.with_token(second["access_token"])) == 200
    assert (await app.revoke(first["refresh_token"])).status == 200
    assert await who(app.with_token(second["access_token"])) == 401


async def test_what_is_left_of_the_legacy_api(oauth: OAuthServer) -> None:
    """What asks for a password is done on the account's page; to log out works either way."""
    app = await oauth.app()
    tokens = await app.log_in(oauth.browser())
    alice = app.with_token(tokens["access_token"])
    refusals = [
        await alice.delete(path_of("devices", app.device_id), {}),
        await alice.post(path_of("delete_devices"), {"devices": [app.device_id]}),
        await alice.post(path_of("account", "password"), {"new_password": "x"}),
        await alice.post(path_of("account", "deactivate"), {}),
        await alice.post(path_of("login", "get_token", version="v1"), {}),
    ]
    for answer in refusals:
        answer.error(403, "M_FORBIDDEN")
    told = (await alice.get(path_of("capabilities"))).ok()["capabilities"]
    for name in ("m.change_password", "m.3pid_changes", "m.get_login_token"):
        assert told[name] == {"enabled": False}
    assert told["m.set_displayname"] == {"enabled": True}
    (await alice.post(path_of("logout"))).ok()
    assert await who(alice) == 401
    refused(await app.refresh(tokens["refresh_token"]), "invalid_grant")


async def test_logging_out_everywhere_is_everywhere(oauth: OAuthServer) -> None:
    browser = oauth.browser()
    app, waiting = await oauth.app(), await oauth.app(client_name="Waiting")
    tokens = await app.log_in(browser)
    code = (await browser.submit((await browser.open(waiting.link())).form)).answer["code"]
    (await app.with_token(tokens["access_token"]).post(path_of("logout", "all"))).ok()
    refused(await waiting.exchange(code), "invalid_grant")
    assert "password" in (await browser.open(app.link())).form.fields


async def test_copies_of_an_app_share_a_registration(oauth: OAuthServer) -> None:
    first = await oauth.register()
    assert first.status == 201
    assert {name: value for name, value in first.json.items() if name != "client_id"} == APP
    assert (await oauth.register()).json == first.json
    assert (await oauth.register(**{"client_name#fr": "Une app"})).json == first.json
    assert (await oauth.register(client_name=None)).json["client_id"] != first.json["client_id"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_registrations_that_are_refused(oauth: OAuthServer) -> None:
    """Each rule: tests/unit/test_oauth_clients.py."""
    refused(await oauth.register(client_uri=None), "invalid_client_metadata")
    refused(await oauth.register(redirect_uris=["https://evil.example/"]), "invalid_redirect_uri")
    path = "/_matrix/oauth2/register"
    bodies: tuple[Any, ...] = (b"{", b"\xff", [], b'{"a": 1, "a": 2}', b"[" * 1000)
    for body in bodies:
        refused(await oauth.nobody.request("POST", path, body), "invalid_client_metadata")


async def test_clients_that_nobody_uses_are_forgotten(oauth: OAuthServer) -> None:
    """ "The server MUST NOT delete client registrations that have an active session." """
    clients = oauth.server.server.services.oauth
    assert clients is not None
    app, unused = await oauth.app(), await oauth.app(client_name="Unused")
    used = await oauth.app(client_name="Used, and logged out")
    tokens = await app.log_in(oauth.browser())
    await used.revoke((await used.log_in(oauth.browser()))["access_token"])

    async def known(each: App) -> bool:
        await clients.clients.prune()
        page = await oauth.browser().open(each.link())
        return page.status == 200

    assert await known(unused)
    oauth.clock.ahead_ms += DAY_MS
    assert not await known(unused)
    assert await known(used)
    oauth.clock.ahead_ms += 30 * DAY_MS
    assert not await known(used)
    assert await known(app)
    refused(await used.refresh("x"), "invalid_client", 401)
    tokens = (await app.refresh(tokens["refresh_token"])).ok()
    # It may come back as it was.
    assert (await oauth.register(client_name="Unused")).json["client_id"] == unused.client_id
    assert await known(unused)
    await app.revoke(tokens["access_token"])
    assert not await known(app)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_many_unused_clients_are_forgotten(oauth: OAuthServer) -> None:
    services = oauth.server.server.services.oauth
    assert services is not None
    for number in range(250):
        await oauth.server.server.database.write(oauth_clients.put, str(number), {}, now_ts=1, until_ts=2)
    await services.clients.prune()
    for number in range(250):
        found = await oauth.server.server.database.read(oauth_clients.metadata_of, str(number))
        assert found is None


async def test_strange_values(oauth: OAuthServer) -> None:
    """Whatever is registered or asked for: the answer is a good one or an error, never a breakdown."""
    for document in strangely({**APP, "logo_uri": "https://example.com/logo"}):
        answer = await oauth.nobody.post("/_matrix/oauth2/register", document)
        assert answer.status in (201, 400), document
    app = await oauth.app()
    tokens = await app.log_in(oauth.browser())
    texts = [each for each in STRANGE if isinstance(each, str)]
    for name in ("grant_type", "client_id", "code", "redirect_uri", "code_verifier"):
        for text in texts:
            answer = await app.token(**{**app.proof("x"), name: text})
            assert answer.status in (400, 401)
    for text in texts:
        assert (await app.refresh(text)).status == 400
        assert (await app.refresh(tokens["refresh_token"], scope=text)).status in (200, 400)
        assert (await app.revoke(text)).status in (200, 400)
        answer = await app.call("device_authorization", {"client_id": app.client_id, "scope": text})
        assert answer.status == 400
        for name in app.request:
            assert (await oauth.browser().open(app.link(**{name: text}))).status in (200, 400)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_an_app_says_of_itself_is_text(oauth: OAuthServer) -> None:
    attack = "<script>alert(1)</script>'\""
    app = await oauth.app(client_name=attack)
    _, page = await consent(oauth, app)
    assert html.escape(attack, quote=False)[:30] in page.text
    assert "<script" not in page.text
    strange = app.link(state=attack, unknown=attack)
    page = await oauth.browser().open(strange)
    assert "<script" not in page.text
