"""What this server does for its users with identity servers: publish addresses, take that back, invite by them.

Client-server API, "Adding Account Administrative Contact Information" and "Third-party invites".
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.core.signing import sign_json
from tests.api.client.identity_harness import (
    BAD_REQUEST,
    KEY,
    NOT_FOUND,
    Identified,
    failed,
    serving_identity,
)
from tests.api.client.mail_harness import password_of
from tests.api.server import Answer, Client, path_of, room_path
from tests.federation.certificates import Authority
from tests.openapi import Specification
from tests.outbound.scripted import Raw, ok

BIND, UNBIND = path_of("account", "3pid", "bind"), path_of("account", "3pid", "unbind")
BOBS = ("email", "bob@example.org")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def both(
    database_url: str, tmp_path: Path, specification: Specification | None, authority: Authority
) -> AsyncIterator[Identified]:
    async with serving_identity(database_url, tmp_path, specification, authority) as served:
        yield served


@pytest.fixture
async def alice(both: Identified) -> Client:
    return await both.server.user("alice")


async def bind(both: Identified, user: Client, address: str = "alice@example.org", **wrong: str) -> Answer:
    both.identity.sessions["sid", "secret"] = ("email", address)
    return await user.post(BIND, {**both.identity.access, "sid": "sid", "client_secret": "secret", **wrong})


async def invite(both: Identified, user: Client, room: str, **wrong: str) -> Answer:
    body = {**both.identity.access, "medium": "email", "address": "Bob@example.org", **wrong}
    return await user.post(room_path(room, "invite"), body)


async def third_party_invites(user: Client, room: str) -> list[Any]:
    state = (await user.get(room_path(room, "state"))).ok()
    return [event for event in state if event["type"] == "m.room.third_party_invite"]


async def redeem(both: Identified, user: Client) -> Answer:
    """Join a room by an invitation that names the identity server's key, and where to ask for it."""
    inviter = await both.server.user("inviter")
    room = await inviter.create_room()
    stored = both.identity.stored()
    content = {"display_name": "b...@e...", **stored["public_keys"][0]}
    await inviter.set_state(room, "m.room.third_party_invite", content, "token")
    proof: Any = {"mxid": user.user_id, "sender": inviter.user_id, "token": "token"}
    signed = sign_json(proof, "id.example", KEY)
    return await user.post(room_path(room, "join"), {"third_party_signed": signed})


async def test_an_address_is_published_and_that_taken_back(both: Identified, alice: Client) -> None:
    known = both.identity.known
    assert (await bind(both, alice)).ok() == {}
    assert known == {("email", "alice@example.org"): alice.user_id}
    # It is not an address of the account for that.
    assert (await alice.get(path_of("account", "3pid"))).ok() == {"threepids": []}
    body = {"medium": "email", "address": "Alice@example.org"}
    assert (await alice.post(UNBIND, body)).ok() == {"id_server_unbind_result": "success"}
    assert known == {}
    # Now no identity server is known that had it.
    assert (await alice.post(UNBIND, body)).ok() == {"id_server_unbind_result": "no-support"}
    old = {"three_pid_creds": {**both.identity.access, "sid": "sid", "client_secret": "secret"}}
    assert (await alice.post(path_of("account", "3pid"), old)).ok() == {}
    named = {**body, "id_server": both.identity.name}
    assert (await alice.post(UNBIND, named)).ok() == {"id_server_unbind_result": "success"}
    assert known == {}


async def test_the_signature_that_the_usual_identity_server_wants(both: Identified, alice: Client) -> None:
    both.identity.wants_destination_is = True
    (await bind(both, alice)).ok()
    body = {"medium": "email", "address": "alice@example.org"}
    assert (await alice.post(UNBIND, body)).ok() == {"id_server_unbind_result": "success"}
    assert both.identity.known == {}


async def test_what_is_closed_or_removed_is_unbound(both: Identified, alice: Client) -> None:
    (await bind(both, alice)).ok()
    (await bind(both, alice, "second@example.org")).ok()
    delete = {"medium": "email", "address": "second@example.org"}
    answer = await alice.post(path_of("account", "3pid", "delete"), delete)
    assert answer.ok() == {"id_server_unbind_result": "success"}
    assert list(both.identity.known) == [("email", "alice@example.org")]
    closed = await alice.post(path_of("account", "deactivate"), {"auth": password_of(alice)})
    assert closed.ok() == {"id_server_unbind_result": "success"}
    assert both.identity.known == {}


async def test_an_account_is_closed_whatever_identity_servers_say(both: Identified, alice: Client) -> None:
    (await bind(both, alice)).ok()
    both.identity.error = failed(BAD_REQUEST, "M_UNKNOWN")
    closed = await alice.post(path_of("account", "deactivate"), {"auth": password_of(alice)})
    assert closed.ok() == {"id_server_unbind_result": "no-support"}
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")


async def test_errors_of_identity_servers_are_handed_on(both: Identified, alice: Client) -> None:
    (await bind(both, alice, sid="another")).error(404, "M_NO_VALID_SESSION")
    both.identity.error = failed("403 Forbidden", "M_TERMS_NOT_SIGNED")
    (await bind(both, alice)).error(403, "M_TERMS_NOT_SIGNED")
    both.identity.error = None
    # But for those that an app would take for its own access token's.
    for _ in range(2):
        (await bind(both, alice, id_access_token="wrong")).error(403, "M_FORBIDDEN")
        both.identity.error = failed("403 Forbidden", "M_UNKNOWN_TOKEN")
    (await alice.get(path_of("account", "whoami"))).ok()
    for nonsense in (
        ok([]),
        ok({"medium": 1}),
        ok({}, status="500 Oh"),
        ok({}, "Location: https://id.example/", status="302 Found"),
        failed(BAD_REQUEST, "<script>"),
        Raw(b"HTTP/1.1 200 OK\r\n\r\n{", then_close=True),
        Raw(b"", then_close=True),
    ):
        both.identity.error = nonsense
        (await bind(both, alice)).error(502, "M_UNKNOWN")
    # What is no error of Matrix says that it cannot be done.
    unbind = {"medium": "email", "address": "alice@example.org", "id_server": both.identity.name}
    for status in (BAD_REQUEST, NOT_FOUND, "501 Not Implemented"):
        both.identity.error = ok({}, status=status)
        assert (await alice.post(UNBIND, unbind)).ok() == {"id_server_unbind_result": "no-support"}
    both.identity.error = failed("403 Forbidden", "M_FORBIDDEN")
    (await alice.post(UNBIND, unbind)).error(403, "M_FORBIDDEN")


async def test_who_is_known_is_invited(both: Identified, alice: Client) -> None:
    bob = await both.server.user("bob")
    both.identity.known[BOBS] = bob.user_id
    room = await alice.create_room()
    (await invite(both, alice, room)).ok()
    state = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert state["membership"] == "invite"
    assert await third_party_invites(alice, room) == []
    assert both.identity.invitations == []


async def test_for_who_is_not_known_an_invitation_is_kept(both: Identified, alice: Client) -> None:
    room = await alice.create_room(
        name="The room", preset="public_chat", creation_content={"type": "m.space"}
    )
    (await invite(both, alice, room)).ok()
    (event,) = await third_party_invites(alice, room)
    stored = both.identity.stored()
    assert event["state_key"] == "token1"
    assert event["content"] == {
        "display_name": "b...@e...",
        **stored["public_keys"][0],
        "public_keys": stored["public_keys"],
    }
    assert "bob@example.org" not in str(await third_party_invites(alice, room))
    assert both.identity.invitations == [
        {
            "medium": "email",
            "address": "bob@example.org",
            "room_id": room,
            "sender": alice.user_id,
            "sender_display_name": "alice",
            "room_name": "The room",
            "room_join_rules": "public",
            "room_type": "m.space",
        }
    ]
    # The address itself is asked for as a hash only.
    lookups = [each for each in both.identity.scripted.requests if each.target.endswith("/lookup")]
    assert b"bob" not in lookups[0].body


async def test_who_may_not_invite_asks_nobody(both: Identified, alice: Client) -> None:
    bob = await both.server.user("bob")
    room = await alice.create_room(power_level_content_override={"invite": 50})
    (await invite(both, bob, room)).error(403, "M_FORBIDDEN")
    (await alice.post(room_path(room, "invite"), {"user_id": bob.user_id})).ok()
    await bob.join(room)
    (await invite(both, bob, room)).error(403, "M_FORBIDDEN")
    (await invite(both, alice, "!nowhere:test.example")).error(404, "M_NOT_FOUND")
    await both.server.restrict(alice, "is_suspended")
    (await invite(both, alice, room)).error(403, "M_USER_SUSPENDED")
    assert both.identity.calls == []


async def test_what_an_identity_server_may_not_say(both: Identified, alice: Client) -> None:
    room = await alice.create_room()
    good = both.identity.stored()
    answers: tuple[dict[str, Any], ...] = (
        {"token": "a b"},
        {"token": ""},
        {"token": 1},
        {"display_name": None},
        {"public_keys": []},
        {"public_keys": [{"public_key": "%", "key_validity_url": "x"}]},
        {"public_keys": [{"public_key": "abcd"}]},
    )
    for wrong in answers:
        script = {"hash_details": ok({"lookup_pepper": "x", "algorithms": ["sha256"]}), "lookup": ok({})}
        script["store-invite"] = ok({**good, **wrong})
        both.identity.scripted.answer = lambda received, script=script: script[received.target.split("/")[-1]]  # type: ignore[misc]  # mypy cannot tell
        (await invite(both, alice, room)).error(502, "M_UNKNOWN")
    for details in ({}, {"lookup_pepper": "x"}, {"lookup_pepper": "x", "algorithms": ["none"]}):
        # The address is not told in clear.
        both.identity.scripted.answer = lambda _, details=details: ok(details)  # type: ignore[misc]  # mypy cannot tell
        (await invite(both, alice, room)).error(502, "M_UNKNOWN")
    assert await third_party_invites(alice, room) == []


async def test_telephone_numbers_are_looked_up_only(both: Identified, alice: Client) -> None:
    bob = await both.server.user("bob")
    room = await alice.create_room()
    number = {"medium": "msisdn", "address": "447700900001"}
    (await invite(both, alice, room, **number)).error(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
    both.identity.known["msisdn", "447700900001"] = bob.user_id
    (await invite(both, alice, room, **number)).ok()


async def test_a_new_room_invites_by_addresses(both: Identified, alice: Client) -> None:
    bob = await both.server.user("bob")
    both.identity.known[BOBS] = bob.user_id
    known = {**both.identity.access, "medium": "email", "address": "bob@example.org"}
    room = await alice.create_room(
        invite_3pid=[known, {**known, "address": "carol@example.org"}, {**known, "id_access_token": "wrong"}],
        is_direct=True,
    )
    state = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert (state["membership"], state["is_direct"]) == ("invite", True)
    assert len(await third_party_invites(alice, room)) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_servers_that_are_not_dealt_with(
    database_url: str, tmp_path: Path, specification: Specification | None, authority: Authority
) -> None:
    options: dict[str, Any] = {"allow": ("id.example",)}
    async with serving_identity(database_url, tmp_path, specification, authority, **options) as both:
        alice = await both.server.user("alice")
        room = await alice.create_room()
        (await bind(both, alice)).error(400, "M_SERVER_NOT_TRUSTED")
        (await invite(both, alice, room)).error(400, "M_SERVER_NOT_TRUSTED")
        third_party = {**both.identity.access, "medium": "email", "address": "bob@example.org"}
        answer = await alice.post(path_of("createRoom"), {"invite_3pid": [third_party]})
        answer.error(400, "M_SERVER_NOT_TRUSTED")
        unbind = {"medium": "email", "address": "alice@example.org", "id_server": both.identity.name}
        (await alice.post(UNBIND, unbind)).error(400, "M_SERVER_NOT_TRUSTED")
        closing = {"auth": password_of(alice), "id_server": both.identity.name}
        closed = await alice.post(path_of("account", "deactivate"), closing)
        assert closed.ok()["id_server_unbind_result"] == "success"  # there was nothing to unbind
        (await redeem(both, await both.server.user("bob"))).error(403, "M_FORBIDDEN")
        assert both.identity.scripted.connections == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_machines_next_to_this_one_are_not_asked(
    database_url: str, tmp_path: Path, specification: Specification | None, authority: Authority
) -> None:
    """Security: a client names the server, and must not have requests sent to private addresses."""
    options: dict[str, Any] = {"allow_private": False}
    async with serving_identity(database_url, tmp_path, specification, authority, **options) as both:
        alice = await both.server.user("alice")
        room = await alice.create_room()
        names = (both.identity.name, "10.0.0.1", "[::1]:8090", "169.254.169.254:80", "[::ffff:127.0.0.1]")
        for name in names:
            (await bind(both, alice, id_server=name)).error(502, "M_UNKNOWN")
            (await invite(both, alice, room, id_server=name)).error(502, "M_UNKNOWN")
        for name in ("", "a b", "https://id.example", "id.example/path", "user@id.example", "x" * 300, "\0"):
            (await bind(both, alice, id_server=name)).error(400, "M_INVALID_PARAM")
        for token in ("", "a\r\nX-Header: 1", "ü", "x" * 5_000):
            answer = await bind(both, alice, id_access_token=token)
            assert answer.status in (400, 502)
        (await redeem(both, await both.server.user("bob"))).error(502, "M_UNKNOWN")
        assert both.identity.scripted.connections == 0
