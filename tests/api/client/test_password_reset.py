"""Client-server API, `password_management.yaml`: a forgotten password is reset by the account's e-mail address."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections import Bucket, RateLimits
from tests.api.client.mail_harness import (
    HOUR_MS,
    Mailing,
    by_email,
    link_in,
    password_of,
    serving_mail,
)
from tests.api.server import PASSWORD, Answer, Client, path_of
from tests.openapi import Specification

RESET = path_of("account", "password")
ALICES = "alice@example.org"


@pytest.fixture
async def alice(mailing: Mailing) -> Client:
    """A user with an address."""
    user = await mailing.server.user("alice")
    await mailing.add(user, ALICES)
    return user


async def login(mailing: Mailing, password: str) -> Answer:
    body = {"type": "m.login.password", "user": "alice", "password": password}
    return await mailing.nobody.post(path_of("login"), body)


async def reset(mailing: Mailing, proof: dict[str, str], password: str = "changed", **more: Any) -> Answer:
    body = {"new_password": password, "auth": by_email(proof), **more}
    return await mailing.nobody.post(RESET, body)


async def test_a_forgotten_password_is_reset(mailing: Mailing, alice: Client) -> None:
    asked = await mailing.nobody.post(RESET, {"new_password": "changed"})
    assert asked.status == 401
    assert {"stages": ["m.login.email.identity"]} in asked.json["flows"]
    sid = (await mailing.request("account/password", ALICES)).ok()["sid"]
    mail = mailing.post.take(ALICES)
    assert alice.user_id in mail.get_content()
    proof = {"sid": sid, "client_secret": "secret"}
    auth = by_email(proof, session=asked.json["session"])
    # Apps ask again and again until the link is opened: that wears nothing out.
    for _ in range(8):
        waiting = await mailing.nobody.post(RESET, {"new_password": "changed", "auth": auth})
        assert waiting.error(401, "M_UNAUTHORIZED")["session"] == asked.json["session"]
    assert (await mailing.confirm(mail)).status == 200
    assert (await mailing.nobody.post(RESET, {"new_password": "changed", "auth": auth})).ok() == {}
    (await login(mailing, PASSWORD)).error(403, "M_FORBIDDEN")
    (await login(mailing, "changed")).ok()
    # "logout_devices ... Defaults to true."
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    # A validation is good once, in whatever session.
    (await reset(mailing, proof, "once more")).error(401, "M_UNAUTHORIZED")
    (await login(mailing, "changed")).ok()


async def test_devices_can_be_kept(mailing: Mailing, alice: Client) -> None:
    proof = await mailing.validate("account/password", ALICES)
    (await reset(mailing, proof, logout_devices=False)).ok()
    (await alice.get(path_of("account", "whoami"))).ok()
    (await login(mailing, "changed")).ok()


async def test_a_validation_is_for_one_account(mailing: Mailing, alice: Client) -> None:
    """Who had the address when it was confirmed must have it still."""
    bob = await mailing.server.user("bob")
    proof = await mailing.validate("account/password", ALICES)
    (await alice.post(path_of("account", "3pid", "delete"), {"medium": "email", "address": ALICES})).ok()
    (await reset(mailing, proof)).error(403, "M_FORBIDDEN")
    proof = await mailing.validate("account/3pid", ALICES, "bobs", by=bob)
    body = {**proof, "auth": password_of(bob)}
    (await bob.post(path_of("account", "3pid", "add"), body)).ok()
    for user in ("alice", "bob"):
        body = {"type": "m.login.password", "user": user, "password": PASSWORD}
        (await mailing.nobody.post(path_of("login"), body)).ok()


async def test_a_session_is_for_one_password(mailing: Mailing, alice: Client) -> None:
    proof = await mailing.validate("account/password", ALICES)
    asked = await mailing.nobody.post(RESET, {"new_password": "changed"})
    auth = by_email(proof, session=asked.json["session"])
    (await mailing.nobody.post(RESET, {"new_password": "another", "auth": auth})).error(403, "M_FORBIDDEN")
    (await login(mailing, PASSWORD)).ok()


async def test_the_password_changed_meanwhile_ends_it(mailing: Mailing, alice: Client) -> None:
    proof = await mailing.validate("account/password", ALICES)
    (await alice.post(RESET, {"new_password": "own", "auth": password_of(alice)})).ok()
    (await reset(mailing, proof)).error(401, "M_UNAUTHORIZED")
    (await login(mailing, "own")).ok()


async def test_whether_there_is_an_account_is_told_in_the_mail_only(mailing: Mailing, alice: Client) -> None:
    there = await mailing.request("account/password", ALICES)
    mailing.post.take(ALICES)
    nobodys = await mailing.request("account/password", "nobody@example.org")
    mail = mailing.post.take("nobody@example.org")
    assert "no account" in " ".join(mail.get_content().split())
    assert "http" not in mail.get_content()
    assert there.ok().keys() == nobodys.ok().keys()
    assert len(there.json["sid"]) == len(nobodys.json["sid"])


async def test_locked_accounts_stay_as_they_are(mailing: Mailing, alice: Client) -> None:
    """Client-server API, "Account locking": "on all but the following Client-Server APIs"."""
    proof = await mailing.validate("account/password", ALICES)
    await mailing.server.restrict(alice, "is_locked")
    (await reset(mailing, proof)).error(401, "M_USER_LOCKED")
    for path, body in ((RESET, {"new_password": "x"}), (path_of("account", "deactivate"), {})):
        answer = await mailing.nobody.post(path, {**body, "auth": password_of(alice)})
        answer.error(401, "M_USER_LOCKED")


async def test_a_link_that_comes_late(mailing: Mailing, alice: Client) -> None:
    proof = await mailing.validate("account/password", ALICES)
    mailing.clock.ahead_ms += HOUR_MS + 1
    (await reset(mailing, proof)).error(401, "M_UNAUTHORIZED")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_malformed(mailing: Mailing, alice: Client) -> None:
    for auth, errcode in (
        ({"type": "m.login.email.identity"}, "M_MISSING_PARAM"),
        (by_email({"sid": "x"}), "M_MISSING_PARAM"),
        ({"type": "m.login.email.identity", "threepid_creds": "x"}, "M_BAD_JSON"),
        ({"type": "m.login.email.identity", "threepid_creds": {"sid": 1, "client_secret": 2}}, "M_BAD_JSON"),
    ):
        answer = await mailing.nobody.request("POST", RESET, {"new_password": "x", "auth": auth})
        answer.error(400, errcode)
    for strange in ("\0", "", "x" * 6000):
        proof = {"sid": strange, "client_secret": strange}
        (await reset(mailing, proof)).error(401, "M_UNAUTHORIZED")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_nobodys_mailbox_is_filled(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    generous = Bucket(per_second=1000, burst=1000)
    limits = RateLimits(enabled=True, validation=generous, login=generous)
    async with serving_mail(database_url, tmp_path, specification, rate_limits=limits) as mailing:
        for number in range(5):
            (await mailing.request("account/password", ALICES, f"secret{number}")).ok()
        refused = await mailing.request("register", ALICES, "another")
        assert refused.error(429, "M_LIMIT_EXCEEDED")["retry_after_ms"] > 60_000
        assert len(mailing.post.mails) == 5
        # What has been sent is not sent again, so it is no fault to ask.
        (await mailing.request("account/password", ALICES, "secret0")).ok()
        (await mailing.request("register", "other@example.org")).ok()
        mailing.clock.ahead_ms += 600_000
        (await mailing.request("register", ALICES, "another")).ok()
        assert link_in(mailing.post.mails[-1])
