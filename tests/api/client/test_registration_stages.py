"""Registration with an e-mail address, and with policies that must be accepted. Spec: "Authentication types"."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections import Policy, PolicyText
from homeserver.core.identifiers import UserID
from homeserver.storage import accepted_policies
from tests.api.client.mail_harness import Mailing, by_email, emails_of, serving_mail
from tests.api.server import PASSWORD, Answer, Client
from tests.openapi import Specification

REGISTER = "/_matrix/client/v3/register"
NEW = "new@example.org"
EMAIL, TERMS, DUMMY = "m.login.email.identity", "m.login.terms", "m.login.dummy"

POLICIES = (
    Policy(
        id="terms_of_service",
        version="1.2",
        texts=(
            PolicyText(language="en", name="Terms", url="https://example.org/terms?v=1.2"),
            PolicyText(language="fr", name="Conditions", url="https://example.org/conditions"),
        ),
    ),
    Policy(
        id="privacy",
        version="7",
        texts=(PolicyText(language="en", name="Privacy", url="https://example.org/privacy"),),
    ),
)


@pytest.fixture
async def strict(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Mailing]:
    """A server where an address is needed, of some people only, and policies have to be accepted."""
    registration = {"requires_email": True, "policies": POLICIES}
    async with serving_mail(
        database_url,
        tmp_path,
        specification,
        registration=registration,
        email={"allow": ("*@example.org",)},
    ) as served:
        yield served


def stages(answer: Answer) -> list[list[str]]:
    assert answer.status == 401
    return [flow["stages"] for flow in answer.json["flows"]]


def as_user(mailing: Mailing, made: Answer) -> Client:
    client = mailing.nobody
    client.user_id, client.access_token = made.ok()["user_id"], made.ok()["access_token"]
    return client


async def register(mailing: Mailing, auth: object = None, name: str = "new") -> Answer:
    body: dict[str, Any] = {"username": name, "password": PASSWORD}
    return await mailing.nobody.post(REGISTER, body if auth is None else {**body, "auth": auth})


async def test_an_address_may_be_given(mailing: Mailing) -> None:
    asked = await register(mailing)
    assert stages(asked) == [[EMAIL], [DUMMY]]
    proof = await mailing.validate("register", NEW)
    made = await register(mailing, by_email(proof, session=asked.json["session"]))
    new = as_user(mailing, made)
    assert await emails_of(new) == [NEW]
    # Repeated, it is the same account.
    again = await mailing.nobody.post(REGISTER, {"auth": {"session": asked.json["session"]}})
    assert again.ok()["user_id"] == new.user_id
    # And without one.
    dummy = await register(mailing, {"type": DUMMY}, "other")
    assert await emails_of(as_user(mailing, dummy)) == []


async def test_an_address_that_was_taken_meanwhile(mailing: Mailing) -> None:
    alice = await mailing.server.user("alice")
    proof = await mailing.validate("register", NEW)
    await mailing.add(alice, NEW)
    (await register(mailing, by_email(proof))).error(400, "M_THREEPID_IN_USE")
    # Nothing is left of the attempt.
    (await mailing.nobody.get(f"{REGISTER}/available", username="new")).ok()
    assert await emails_of(alice) == [NEW]


async def test_a_validation_makes_one_account(mailing: Mailing) -> None:
    proof = await mailing.validate("register", NEW)
    (await register(mailing, by_email(proof))).ok()
    (await register(mailing, by_email(proof), "another")).error(401, "M_UNAUTHORIZED")


async def test_what_is_needed_cannot_be_left_out(strict: Mailing) -> None:
    asked = await register(strict)
    assert stages(asked) == [[TERMS, EMAIL]]
    for kind in (DUMMY, EMAIL, "m.login.msisdn", "m.login.password"):
        answer = await register(strict, {"type": kind, "session": asked.json["session"]})
        answer.error(401, "M_FORBIDDEN")
    # Nobody accepts what they have not been shown.
    (await register(strict, {"type": TERMS})).error(401, "M_FORBIDDEN")
    (await strict.request("register", "new@elsewhere.org")).error(403, "M_THREEPID_DENIED")
    accepted = await register(strict, {"type": TERMS, "session": asked.json["session"]})
    assert accepted.json["completed"] == [TERMS]
    sid = (await strict.request("register", NEW)).ok()["sid"]
    proof = {"sid": sid, "client_secret": "secret"}
    early = await register(strict, by_email(proof, session=asked.json["session"]))
    early.error(401, "M_UNAUTHORIZED")
    assert (await strict.confirm(strict.post.take(NEW))).status == 200
    new = as_user(strict, await register(strict, by_email(proof, session=asked.json["session"])))
    assert await emails_of(new) == [NEW]
    database = strict.server.server.database
    found = await database.read(accepted_policies.of_user, UserID(new.user_id))
    assert [(policy, version) for policy, version, _ in found] == [
        ("privacy", "7"),
        ("terms_of_service", "1.2"),
    ]


async def test_the_policies_are_told_as_the_specification_says(strict: Mailing) -> None:
    asked = await register(strict)
    assert asked.json["params"] == {
        TERMS: {
            "policies": {
                "terms_of_service": {
                    "version": "1.2",
                    "en": {"name": "Terms", "url": "https://example.org/terms?v=1.2"},
                    "fr": {"name": "Conditions", "url": "https://example.org/conditions"},
                },
                "privacy": {"version": "7", "en": {"name": "Privacy", "url": "https://example.org/privacy"}},
            }
        }
    }


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_policies_that_change_meanwhile_are_shown_again(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    async with serving_mail(
        database_url, tmp_path, specification, registration={"policies": POLICIES}
    ) as before:
        session = (await register(before)).json["session"]
    newer = (POLICIES[0], Policy(id="privacy", version="8", texts=POLICIES[1].texts))
    async with serving_mail(database_url, tmp_path, specification, registration={"policies": newer}) as after:
        (await register(after, {"type": TERMS, "session": session})).error(401, "M_FORBIDDEN")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_cannot_register_gets_no_mail(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    async with serving_mail(
        database_url, tmp_path, specification, registration={"enabled": False}
    ) as mailing:
        (await mailing.request("register", NEW)).error(403, "M_FORBIDDEN")
        assert mailing.post.mails == []
