"""Client-server API, "Fallback": stages are done on pages, without JavaScript, and the app goes on with its session."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from homeserver.config.sections import Registration
from homeserver.storage import registration_tokens
from tests.api.client.mail_harness import HOUR_MS, LINK, Mailing, emails_of, serving_mail
from tests.api.client.oauth_harness import Browser
from tests.api.client.test_registration_stages import EMAIL, POLICIES, REGISTER, TERMS, as_user
from tests.api.server import PASSWORD, Answer, Client, TestServer, path_of, running_server
from tests.key_holders import DEVICE_SIGNING, Identity
from tests.openapi import Specification

NEW = "new@example.org"
TOLD_TO_THE_APP = ("window.onAuthDone()", 'window.opener.postMessage("authDone", "*")')


def page_of(stage: str) -> str:
    return f"/_matrix/client/v3/auth/{stage}/fallback/web"


async def look(client: Client, stage: str, session: str) -> Answer:
    return await client.request("GET", page_of(stage), query={"session": session})


def hidden(page: str | None) -> dict[str, str]:
    """The fields that a form hands on."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page or "")
    return {name: html.unescape(value) for name, value in fields}


def check_done(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.page is not None
    for call in TOLD_TO_THE_APP:
        assert call in answer.page


@pytest.fixture
async def strict(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Mailing]:
    registration = {"requires_email": True, "policies": POLICIES}
    async with serving_mail(database_url, tmp_path, specification, registration=registration) as served:
        yield served


async def test_the_password(server: TestServer, alice: Client) -> None:
    doomed = await server.device(alice)
    path = path_of("devices", doomed.device_id)
    session = (await alice.delete(path, {})).json["session"]
    opened = await look(server.anonymous(), "m.login.password", session)
    assert opened.page is not None
    # It says what for, and for whom.
    assert "log out a device" in opened.page
    assert alice.user_id in opened.page
    fields = hidden(opened.page)
    wrong = await alice.submit(page_of("m.login.password"), **fields, password="wrong")
    assert wrong.status == 403
    assert wrong.page is not None
    assert "The password is wrong" in wrong.page
    assert (await alice.delete(path, {"auth": {"session": session}})).status == 401
    check_done(await server.anonymous().submit(page_of("m.login.password"), **fields, password=PASSWORD))
    check_done(await look(server.anonymous(), "m.login.password", session))
    # The proof is for that device and no other.
    other = path_of("devices", alice.device_id)
    (await alice.delete(other, {"auth": {"session": session}})).error(403, "M_FORBIDDEN")
    (await alice.delete(path, {"auth": {"session": session}})).ok()
    # And is used up.
    assert (await look(alice, "m.login.password", session)).status == 404


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_the_password_is_for(mailing: Mailing) -> None:
    """Whatever asks for it is named."""
    alice = await mailing.server.user("alice")
    (await alice.post(DEVICE_SIGNING, Identity(alice.user_id).upload())).ok()
    second, proof = Identity(alice.user_id, "second"), await mailing.validate("account/3pid", NEW, by=alice)
    for path, body, words in (
        (path_of("account", "password"), {"new_password": "changed"}, "set a new password"),
        (path_of("account", "deactivate"), {}, "close the account"),
        (path_of("account", "3pid", "add"), proof, "add an address"),
        (path_of("delete_devices"), {"devices": [alice.device_id]}, "log out devices"),
        ("/_matrix/client/v1/login/get_token", {}, "log in another device"),
        (DEVICE_SIGNING, second.upload(), "replace the cross-signing keys"),
    ):
        asked = await alice.request("POST", path, body, check=False)
        assert asked.status == 401
        opened = await look(mailing.nobody, "m.login.password", asked.json["session"])
        assert f"Your app is about to {words}" in (opened.page or "")


async def test_whose_password_it_is(server: TestServer, alice: Client, bob: Client) -> None:
    """Without an access token, the page asks for the name too; with one, nobody else's password will do."""
    path, body = path_of("account", "password"), {"new_password": "changed"}
    session = (await server.anonymous().post(path, body)).json["session"]
    opened = await look(alice, "m.login.password", session)
    assert 'name="user"' in (opened.page or "")
    fields = {"session": session, "user": "alice", "password": PASSWORD}
    check_done(await alice.submit(page_of("m.login.password"), **fields))
    (await server.anonymous().post(path, {**body, "auth": {"session": session}})).ok()
    session = (await bob.post(path, body)).json["session"]
    fields = {"session": session, "user": "alice", "password": "changed"}
    assert (await bob.submit(page_of("m.login.password"), **fields)).status == 403


async def test_guesses_end_the_session(server: TestServer, alice: Client) -> None:
    session = (await alice.post(path_of("account", "deactivate"), {})).json["session"]
    for _ in range(5):
        answer = await alice.submit(page_of("m.login.password"), session=session, password="wrong")
        assert answer.status == 403
    right = await alice.submit(page_of("m.login.password"), session=session, password=PASSWORD)
    assert right.status == 404
    (await alice.get(path_of("account", "whoami"))).ok()


async def test_policies_and_an_address(strict: Mailing) -> None:
    body = {"username": "new", "password": PASSWORD}
    session = (await strict.nobody.post(REGISTER, body)).json["session"]
    opened = await look(strict.nobody, TERMS, session)
    assert opened.page is not None
    assert "make a new account" in opened.page
    for policy in POLICIES:
        for text in policy.texts:
            assert f'href="{html.escape(text.url)}"' in opened.page
    one = await strict.nobody.submit(page_of(TERMS), session=session, **{"policy-1": "on"})
    assert one.status == 400
    # The steps are done in their order.
    assert (await look(strict.nobody, EMAIL, session)).status == 403
    both = {"policy-1": "on", "policy-2": "on"}
    check_done(await strict.nobody.submit(page_of(TERMS), session=session, **both))
    opened = await look(strict.nobody, EMAIL, session)
    request = "/_matrix/static/client/email/request"
    assert f'action="{request}"' in (opened.page or "")
    bad = await strict.nobody.submit(request, session=session, email="no address")
    assert bad.status == 400
    sent = await strict.nobody.submit(request, session=session, email=NEW)
    assert sent.status == 200
    fields = hidden(sent.page)
    early = await strict.nobody.submit(page_of(EMAIL), **fields)
    assert early.status == 403
    assert hidden(early.page) == fields
    assert (await strict.confirm(strict.post.take(NEW))).status == 200
    check_done(await strict.nobody.submit(page_of(EMAIL), **fields))
    new = as_user(strict, await strict.nobody.post(REGISTER, {"auth": {"session": session}}))
    assert await emails_of(new) == [NEW]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_registration_token(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    policy, stage = Registration(enabled=True, requires_token=True), "m.login.registration_token"
    async with running_server(database_url, tmp_path, specification, registration=policy) as server:
        await server.server.database.write(registration_tokens.add, "good", uses_allowed=1, expires_ts=None)
        client = server.anonymous()
        session = (await client.post(REGISTER, {"username": "new", "password": PASSWORD})).json["session"]
        assert 'name="token"' in ((await look(client, stage, session)).page or "")
        for token, status in (("", 400), ("bad", 403)):
            answer = await client.submit(page_of(stage), session=session, token=token)
            assert answer.status == status
        check_done(await client.submit(page_of(stage), session=session, token=" good "))
        made = (await client.post(REGISTER, {"auth": {"session": session}})).ok()
        assert made["user_id"] == "@new:test.example"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_nothing_in_particular(mailing: Mailing) -> None:
    """`m.login.dummy`, which tells those apart who give no address."""
    body = {"username": "new", "password": PASSWORD}
    session = (await mailing.nobody.post(REGISTER, body)).json["session"]
    for stage in (EMAIL, "m.login.dummy"):
        assert (await look(mailing.nobody, stage, session)).status == 200
    check_done(await mailing.nobody.submit(page_of("m.login.dummy"), session=session))
    assert (await look(mailing.nobody, EMAIL, session)).status == 403
    (await mailing.nobody.post(REGISTER, {"auth": {"session": session}})).ok()


async def test_nothing_is_shown_for_nothing(strict: Mailing) -> None:
    session = (await strict.nobody.post(REGISTER, {"username": "new", "password": PASSWORD})).json["session"]
    for stage in ("m.login.sso", "m.login.recaptcha", "m.login.msisdn", "<script>", "%00"):
        answer = await strict.nobody.request("GET", page_of(stage), query={"session": session}, check=False)
        assert answer.status in (400, 404)
    for stage in ("m.login.password", "m.login.dummy", "m.login.registration_token"):
        assert (await look(strict.nobody, stage, session)).status == 403
    for unknown in ("", "unknown", '"><script>alert(1)</script>', "x" * 6_000):
        answer = await look(strict.nobody, TERMS, unknown)
        assert answer.status == 404
        assert "alert(1)" not in (answer.page or "")
    strict.clock.ahead_ms += HOUR_MS
    assert (await look(strict.nobody, TERMS, session)).status == 404


async def test_forms_come_as_forms(strict: Mailing) -> None:
    """A page of another site can send nothing else without being asked; what it can send needs a session."""
    session = (await strict.nobody.post(REGISTER, {"username": "new", "password": PASSWORD})).json["session"]
    form = urlencode({"session": session, "policy-1": "on", "policy-2": "on"}).encode()
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
        answer = await strict.nobody.request(
            "POST", page_of(TERMS), form, headers={"Content-Type": kind}, check=False
        )
        assert answer.status == 400
    assert "Accept the policies" in ((await look(strict.nobody, TERMS, session)).page or "")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_pages_to_log_in_and_to_register(server: TestServer) -> None:
    attack = "</script><script>alert(1)</script>"
    for page in ("login", "register"):
        path = f"/_matrix/static/client/{page}"
        query = {"device_id": attack, "initial_device_display_name": attack, "password": "x", "other": attack}
        for slash in ("", "/"):
            answer = await server.anonymous().request("GET", path + slash, query=query)
            assert answer.status == 200
            assert answer.page is not None
            assert "<script>alert" not in answer.page
            assert answer.page.count("</script>") == 1
            assert "u003cscript" in answer.page
            assert '"password":' not in answer.page
            assert 'lang="en"' in answer.page


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_server_that_has_a_part_of_its_host_only(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """`public_base_url` may have a path: a proxy hands on what is below, and nothing that lies beside it."""
    base, email, changed = "https://matrix.test.example/sub", "alice@example.org", {"new_password": "changed"}
    async with serving_mail(database_url, tmp_path, specification, public_base_url=base) as mailing:
        browser = Browser(mailing.server.base_url, mailing.server.pool, base=base)

        async def confirm() -> None:
            link = LINK.search(mailing.post.take(email).get_content())
            assert link is not None
            assert (await browser.submit((await browser.open(link[0])).form)).status == 200

        await mailing.server.user("alice")
        # The pages of the account; whatever they link to is below.
        page = await browser.log_in(await browser.open(f"{base}/_matrix/account?action=org.matrix.profile"))
        assert page.links
        for link in page.links:
            assert (await browser.open(link)).status == 200
        page = await browser.submit(page.forms[1], email=email)
        await confirm()
        assert email in (await browser.submit(page.form, password=PASSWORD)).text
        # A forgotten password, by the pages of a stage and of a mail.
        path = path_of("account", "password")
        session = (await mailing.nobody.post(path, changed)).json["session"]
        page = await browser.open(f"{base}{page_of(EMAIL)}?session={session}")
        page = await browser.submit(page.form, email=email)
        await confirm()
        assert "window.onAuthDone()" in (await browser.submit(page.form)).text
        (await mailing.nobody.post(path, {**changed, "auth": {"session": session}})).ok()
        # What the scripts call.
        for name in ("login", "register"):
            page = await browser.open(f"{base}/_matrix/static/client/{name}/")
            assert '"/sub/_matrix/client/v3"' in page.text
            assert '"/_matrix' not in page.text
