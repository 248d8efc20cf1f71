"""Client-server API, `administrative_contact.yaml`: addresses are an account's once their owner has said so."""

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import select
from twisted.internet.defer import Deferred, gatherResults

from homeserver.database.statements import statement
from homeserver.database.tables.threepids import validation_sessions
from homeserver.database.transactions import ReadTransaction
from tests.api.client.mail_harness import (
    CONFIRM,
    HOUR_MS,
    Mailing,
    by_email,
    emails_of,
    link_in,
    password_of,
    serving_mail,
)
from tests.api.client.test_strange_values import strangely
from tests.api.server import PASSWORD, Answer, Client, TestServer, path_of
from tests.openapi import Specification

ADD = path_of("account", "3pid", "add")
DELETE = path_of("account", "3pid", "delete")
ALICES = "alice@example.org"
EVERYTHING = statement(select(validation_sessions))


async def test_an_address_is_added_once_it_is_confirmed(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    sid = (await mailing.request("account/3pid", "Alice@Example.ORG", by=alice)).ok()["sid"]
    assert re.fullmatch(r"[0-9A-Za-z.=_-]{1,255}", sid)
    proof = {"sid": sid, "client_secret": "secret"}
    mail = mailing.post.take(ALICES)
    # Neither the mail nor opening its link is enough.
    body = {**proof, "auth": password_of(alice)}
    (await alice.post(ADD, body)).error(403, "M_THREEPID_AUTH_FAILED")
    path, fields = link_in(mail)
    opened = await mailing.nobody.request("GET", path, query=fields)
    assert opened.status == 200
    assert opened.page is not None
    assert ALICES in opened.page
    (await alice.post(ADD, body)).error(403, "M_THREEPID_AUTH_FAILED")
    assert (await mailing.nobody.submit(path, **fields)).status == 200
    # The password is asked for.
    asked = await alice.post(ADD, proof)
    assert (asked.status, asked.json["flows"]) == (401, [{"stages": ["m.login.password"]}])
    assert await emails_of(alice) == []
    auth = {**password_of(alice), "session": asked.json["session"]}
    assert (await alice.post(ADD, {**proof, "auth": auth})).ok() == {}
    (entry,) = (await alice.get(path_of("account", "3pid"))).ok()["threepids"]
    assert (entry["medium"], entry["address"]) == ("email", ALICES)
    assert abs(entry["added_at"] - mailing.clock.now_ts()) < 60_000
    assert entry["validated_at"] <= entry["added_at"]
    # A validation is good once.
    (await alice.post(ADD, body)).error(403, "M_THREEPID_AUTH_FAILED")


async def test_one_logs_in_by_an_address(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    await mailing.add(alice, ALICES)

    async def login(address: str, password: str = PASSWORD, **more: Any) -> Answer:
        identifier = {"type": "m.id.thirdparty", "medium": "email", "address": address}
        body = {"type": "m.login.password", "identifier": identifier, "password": password, **more}
        return await mailing.nobody.post(path_of("login"), body)

    assert (await login(ALICES)).ok()["user_id"] == alice.user_id
    assert (await login("ALICE@example.org")).ok()["user_id"] == alice.user_id
    old = {"type": "m.login.password", "medium": "email", "address": ALICES, "password": PASSWORD}
    assert (await mailing.nobody.post(path_of("login"), old)).ok()["user_id"] == alice.user_id
    # A wrong password and an address that nobody has look the same.
    wrong = (await login(ALICES, "wrong")).error(403, "M_FORBIDDEN")
    assert (await login("nobody@example.org")).error(403, "M_FORBIDDEN") == wrong
    assert (await login("no address")).error(403, "M_FORBIDDEN") == wrong
    phone = {"type": "m.id.phone", "country": "GB", "phone": "07700 900001"}
    body = {"type": "m.login.password", "identifier": phone, "password": PASSWORD}
    assert (await mailing.nobody.post(path_of("login"), body)).error(403, "M_FORBIDDEN") == wrong
    # It serves to authorise what needs the password, too.
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": ALICES}
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    changed = {"new_password": "changed", "auth": auth}
    (await alice.post(path_of("account", "password"), changed)).ok()
    (await login(ALICES, "changed")).ok()


async def test_what_is_confirmed_for_one_account_is_not_for_another(mailing: Mailing) -> None:
    alice, eve = await mailing.server.user("alice"), await mailing.server.user("eve")
    proof = await mailing.validate("account/3pid", ALICES, by=alice)
    stolen = {**proof, "auth": password_of(eve)}
    (await eve.post(ADD, stolen)).error(403, "M_THREEPID_AUTH_FAILED")
    guessed = {**proof, "client_secret": "another", "auth": password_of(alice)}
    (await alice.post(ADD, guessed)).error(403, "M_THREEPID_AUTH_FAILED")
    (await alice.post(ADD, {**proof, "auth": password_of(alice)})).ok()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_confirmed_for_one_purpose_is_not_for_another(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    for_register = await mailing.validate("register", ALICES)
    (await alice.post(ADD, {**for_register, "auth": password_of(alice)})).error(403, "M_THREEPID_AUTH_FAILED")
    await mailing.add(alice, ALICES)
    for_adding = await mailing.validate("account/3pid", "second@example.org", by=alice)
    reset = {"new_password": "changed", "auth": by_email(for_adding)}
    answer = await mailing.nobody.post(path_of("account", "password"), reset)
    answer.error(401, "M_UNAUTHORIZED")
    for_reset = await mailing.validate("account/password", ALICES)
    (await alice.post(ADD, {**for_reset, "auth": password_of(alice)})).error(403, "M_THREEPID_AUTH_FAILED")
    register = {"username": "new", "password": PASSWORD, "auth": by_email(for_reset)}
    (await mailing.nobody.post(path_of("register"), register)).error(401, "M_UNAUTHORIZED")


async def test_of_two_who_claim_an_address_at_once_one_gets_it(mailing: Mailing) -> None:
    users = [await mailing.server.user(name) for name in ("alice", "bob")]
    proofs = [
        await mailing.validate("account/3pid", ALICES, secret, by=user)
        for user, secret in zip(users, ("one", "two"), strict=True)
    ]
    asking = [
        Deferred.fromCoroutine(user.post(ADD, {**proof, "auth": password_of(user)}))
        for user, proof in zip(users, proofs, strict=True)
    ]
    answers = await gatherResults(asking)
    assert sorted(answer.status for answer in answers) == [200, 400]
    for user, answer in zip(users, answers, strict=True):
        if answer.status == 400:
            answer.error(400, "M_THREEPID_IN_USE")
        assert await emails_of(user) == ([ALICES] if answer.status == 200 else [])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_any_process_does_for_any_step(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    async with (
        serving_mail(database_url, folders[0], specification) as one,
        serving_mail(database_url, folders[1], specification) as other,
    ):
        alice = await one.server.user("alice")
        elsewhere = attrs.evolve(alice, base_url=other.server.base_url)
        sid = (await one.request("account/3pid", ALICES, by=alice)).ok()["sid"]
        again = await other.request("account/3pid", ALICES, by=elsewhere)
        assert (again.ok()["sid"], other.post.mails) == (sid, [])
        assert (await other.confirm(one.post.take(ALICES))).status == 200
        body = {"sid": sid, "client_secret": "secret"}
        session = (await alice.post(ADD, body)).json["session"]
        stage = "/_matrix/client/v3/auth/m.login.password/fallback/web"
        assert (await elsewhere.submit(stage, session=session, password=PASSWORD)).status == 200
        (await alice.post(ADD, {**body, "auth": {"session": session}})).ok()
        assert await emails_of(elsewhere) == [ALICES]


async def test_whether_an_address_is_taken_is_told_in_the_mail_only(mailing: Mailing) -> None:
    alice, bob = await mailing.server.user("alice"), await mailing.server.user("bob")
    await mailing.add(alice, ALICES)
    for what, by in (("register", None), ("account/3pid", bob)):
        sid = (await mailing.request(what, ALICES, by=by)).ok()["sid"]
        mail = mailing.post.take(ALICES)
        assert "belongs to" in mail.get_content()
        assert "http" not in mail.get_content()
        # Nor is there anything to confirm by.
        answer = await mailing.nobody.submit(CONFIRM, sid=sid, token="")
        assert answer.status == 404
    # One's own address can be confirmed anew.
    await mailing.validate("account/3pid", ALICES, "again", by=alice)


async def test_a_mail_is_sent_once_for_each_attempt(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    first = (await mailing.request("account/3pid", ALICES, by=alice)).ok()["sid"]
    old = mailing.post.take(ALICES)
    for attempt in (1, 0):
        again = await mailing.request("account/3pid", ALICES, attempt=attempt, by=alice)
        assert again.ok()["sid"] == first
    assert mailing.post.mails == []
    assert (await mailing.request("account/3pid", ALICES, attempt=2, by=alice)).ok()["sid"] == first
    assert link_in(mailing.post.take(ALICES)) != link_in(old)
    # The first mail may be the one that is read.
    assert (await mailing.confirm(old)).status == 200
    # Another secret, or another address, is another session.
    assert (await mailing.request("account/3pid", ALICES, "other", by=alice)).ok()["sid"] != first
    assert (await mailing.request("account/3pid", "second@example.org", by=alice)).ok()["sid"] != first


async def test_a_mail_that_could_not_be_sent_is_no_success(mailing: Mailing) -> None:
    mailing.post.refuses_mail = True
    (await mailing.request("register", ALICES)).error(502, "M_UNKNOWN")
    mailing.post.refuses_mail, mailing.post.refuses_recipients = False, True
    (await mailing.request("register", ALICES)).error(400, "M_INVALID_PARAM")
    mailing.post.refuses_recipients = False
    # The same attempt once more: this time it is sent.
    (await mailing.request("register", ALICES)).ok()
    mailing.post.take(ALICES)


async def test_links_expire_and_cannot_be_guessed(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    sid = (await mailing.request("account/3pid", ALICES, by=alice)).ok()["sid"]
    path, fields = link_in(mailing.post.take(ALICES))
    mailing.clock.ahead_ms += HOUR_MS + 1
    for answer in (
        await mailing.nobody.request("GET", path, query=fields),
        await mailing.nobody.submit(path, **fields),
    ):
        assert answer.status == 404
    sid = (await mailing.request("account/3pid", ALICES, by=alice)).ok()["sid"]
    mail = mailing.post.take(ALICES)
    for guess in range(10):
        assert (await mailing.nobody.submit(path, sid=sid, token=str(guess))).status == 404
    path, fields = link_in(mail)
    assert (await mailing.nobody.submit(path, **fields)).status == 404
    # What was confirmed in time must be used in time.
    proof = await mailing.validate("account/3pid", "second@example.org", by=alice)
    mailing.clock.ahead_ms += HOUR_MS + 1
    late = {**proof, "auth": password_of(alice)}
    (await alice.post(ADD, late)).error(403, "M_THREEPID_AUTH_FAILED")


async def test_tokens_and_secrets_are_not_kept(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    sid = (await mailing.request("account/3pid", ALICES, "the-very-secret", by=alice)).ok()["sid"]
    _, fields = link_in(mailing.post.take(ALICES))
    text = await mailing.server.server.database.read(_all_of_it)
    assert ALICES in text
    for secret in (sid, fields["token"], "the-very-secret"):
        assert secret not in text


async def test_an_address_is_removed(mailing: Mailing) -> None:
    alice, bob = await mailing.server.user("alice"), await mailing.server.user("bob")
    await mailing.add(alice, ALICES)
    body = {"medium": "email", "address": "ALICE@example.org"}
    # Not by somebody else, who does not learn of it either.
    assert (await bob.post(DELETE, body)).ok() == {"id_server_unbind_result": "no-support"}
    assert await emails_of(alice) == [ALICES]
    assert (await alice.post(DELETE, body)).ok() == {"id_server_unbind_result": "no-support"}
    assert await emails_of(alice) == []
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": ALICES}
    login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    (await mailing.nobody.post(path_of("login"), login)).error(403, "M_FORBIDDEN")
    await mailing.add(bob, ALICES)
    assert await emails_of(bob) == [ALICES]


async def test_a_closed_account_has_no_addresses(mailing: Mailing) -> None:
    alice, bob = await mailing.server.user("alice"), await mailing.server.user("bob")
    await mailing.add(alice, ALICES)
    proof = await mailing.validate("account/password", ALICES)
    (await alice.post(path_of("account", "deactivate"), {"auth": password_of(alice)})).ok()
    reset = {"new_password": "changed", "auth": by_email(proof)}
    (await mailing.nobody.post(path_of("account", "password"), reset)).error(401, "M_UNAUTHORIZED")
    await mailing.add(bob, ALICES)


async def test_suspended_users_may_add_but_not_remove(mailing: Mailing) -> None:
    """Client-server API, "Account suspension": "Change or add admin contacts, but not remove"."""
    alice = await mailing.server.user("alice")
    await mailing.add(alice, ALICES)
    await mailing.server.restrict(alice, "is_suspended")
    await mailing.add(alice, "second@example.org")
    body = {"medium": "email", "address": ALICES}
    (await alice.post(DELETE, body)).error(403, "M_USER_SUSPENDED")
    assert await emails_of(alice) == [ALICES, "second@example.org"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_no_address_or_secret(mailing: Mailing) -> None:
    addresses = (
        *("", "alice", "@example.org", "alice@", "alice@localhost", "a b@example.org", "alice@exam ple.org"),
        *(
            "alice@example.org\r\nBcc: eve@example.org",
            "alice@example.org, eve@example.org",
            "<alice@example.org>",
        ),
        *(
            "alice@example..org",
            ".alice@example.org",
            '"alice"@example.org',
            "alice@[127.0.0.1]",
            "älice@example.org",
        ),
        *(
            "alice@ex\u0430mple.org",
            "alice@example.org\0",
            "a" * 65 + "@example.org",
            "a@" + "b." * 130 + "org",
        ),
    )
    for address in addresses:
        (await mailing.request("register", address)).error(400, "M_INVALID_PARAM")
    for secret in ("", "a b", "a" * 256, "ü", "a\0"):
        (await mailing.request("register", ALICES, secret)).error(400, "M_INVALID_PARAM")
    for attempt in (-1, 2**53):
        (await mailing.request("register", ALICES, attempt=attempt)).error(400, "M_INVALID_PARAM")
    for link in (
        "javascript:alert(1)",
        "//example.org",
        "https://",
        "https://a@b",
        "https://[",
        "data:,x",
        "x" * 3000,
    ):
        (await mailing.request("register", ALICES, next_link=link)).error(400, "M_INVALID_PARAM")
    assert mailing.post.mails == []


async def test_strange_values_break_nothing(mailing: Mailing) -> None:
    body = {
        "client_secret": "x",
        "email": ALICES,
        "send_attempt": 1,
        "next_link": "https://x",
        "id_server": "x",
    }
    for what in ("register", "account/password"):
        for strange in strangely(body):
            answer = await mailing.nobody.request(
                "POST", f"/_matrix/client/v3/{what}/email/requestToken", strange, check=False
            )
            assert answer.status < 500, (strange, answer.json)
    assert all(mail["To"] == ALICES for mail in mailing.post.mails)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_where_to_go_then_is_shown(mailing: Mailing) -> None:
    """But not gone to: whoever has a mail sent says where that is."""
    next_link = 'https://app.example.org/?a="><script>'
    (await mailing.request("register", ALICES, next_link=next_link)).ok()
    page = (await mailing.confirm(mailing.post.take(ALICES))).page
    assert page is not None
    assert "Go on to app.example.org" in page
    assert "<script>" not in page


async def test_without_a_mail_server_there_are_no_addresses(server: TestServer, alice: Client) -> None:
    email = {"client_secret": "secret", "email": ALICES, "send_attempt": 1}
    phone = {"client_secret": "secret", "country": "GB", "phone_number": "07700900001", "send_attempt": 1}
    for what in ("register", "account/3pid", "account/password"):
        for medium, body in (("email", email), ("msisdn", phone)):
            answer = await alice.post(f"/_matrix/client/v3/{what}/{medium}/requestToken", body)
            answer.error(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
    assert (await alice.get(path_of("account", "3pid"))).ok() == {"threepids": []}
    capabilities = (await alice.get(path_of("capabilities"))).ok()["capabilities"]
    assert capabilities["m.3pid_changes"] == {"enabled": False}
    locked = await server.user("locked")
    await server.restrict(locked, "is_locked")
    answer = await locked.post(path_of("account", "3pid", "email", "requestToken"), email)
    answer.error(401, "M_USER_LOCKED")


def _all_of_it(tx: ReadTransaction) -> str:
    return str(tx.all(EVERYTHING))
