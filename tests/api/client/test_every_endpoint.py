"""What holds for all endpoints alike: who is let in, which methods and paths there are, what no body can do."""

import re
import typing
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest

from homeserver.app.endpoints import endpoints
from homeserver.config.sections import Resource
from homeserver.http.endpoints import Auth, Endpoint
from tests.api.server import Answer, Client, TestServer, running_server
from tests.openapi import Specification

PATH: Final = {
    "room_id": "!room:test.example",
    "room": "!room:test.example",
    "event_id": "$event",
    "room_alias": "%23alias:test.example",
    "key_name": "displayname",
    "kind": "override",
    "rule_id": ".m.rule.master",
    "receipt_type": "m.read",
}
"""What stands for parameters of paths, where not any word will do."""

OWN_TOKENS: Final = {"exchange_open_id_token"}
"""What takes tokens that are no access tokens."""

PAGES: Final = {
    "redirect_to_sso",
    "redirect_to_id_p",
    "sso_login",
    "sso_login_submit",
    "uia_fallback",
    "uia_fallback_submit",
    "request_email",
    "login_fallback",
    "register_fallback",
    "confirm_email_page",
    "confirm_email",
    "oauth_authorize",
    "oauth_authorize_submit",
    "device_link",
    "device_link_submit",
    "browser_log_in",
    "browser_log_out",
    "browser_register",
    "browser_register_email",
    "account_management",
    "account_management_submit",
    "account_email",
}
"""What answers with pages for people, errors included."""

OAUTH: Final = {"oauth_register_client", "oauth_token", "oauth_revoke", "oauth_device_authorization"}
"""What has the errors of OAuth: tests/api/client/test_oauth_authorization.py."""

LETS_GO: Final = {"logout", "logout_all"}
"""What takes no body, and leaves nobody to ask again."""

LASTS: Final = {"stream_sync"}
"""What goes on answering, and never comes to an end of what it says."""

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A server that has all that there is: for some of it, it must know where it is reached."""
    base_url = "https://matrix.test.example"
    async with running_server(database_url, tmp_path, specification, public_base_url=base_url) as running:
        yield running


def all_of(server: TestServer) -> list[Endpoint]:
    """All that speak JSON."""
    served = endpoints(server.server.config, server.server.services, list(Resource))
    return [endpoint for endpoint in served if endpoint.function.__name__ not in PAGES | OAUTH]


def for_clients(server: TestServer) -> list[Endpoint]:
    """Those that no other server has to sign its requests for."""
    return [endpoint for endpoint in all_of(server) if endpoint.spec.auth is not Auth.SERVER]


def path_to(endpoint: Endpoint, user_id: str = "@alice:test.example") -> str:
    """A path on which the endpoint is reached."""
    values = {**PATH, "user_id": user_id}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "x"), endpoint.spec.path)


async def ask(client: Client, method: str, path: str, **options: Any) -> Answer:
    """One exchange that the report is not to count; errors have their shape."""
    answer = await client.request(method, path, check=False, **options)
    if answer.status >= 400 and "flows" not in answer.json:  # which are no error, but a question
        assert answer.json["errcode"].startswith("M_")
        assert isinstance(answer.json["error"], str)
    return answer


async def test_without_a_token_and_with_a_wrong_one(server: TestServer) -> None:
    client = server.anonymous()
    for endpoint in for_clients(server):
        if endpoint.function.__name__ in OWN_TOKENS:
            continue
        method, path = endpoint.spec.method, path_to(endpoint)
        without = await ask(client, method, path)
        wrong = [
            await ask(client, method, path, token="wrong"),
            await ask(client, method, path, query={"access_token": "wrong"}),
            await ask(client, method, path, headers={"Authorization": "bearer wrong"}),
        ]
        if endpoint.spec.auth in (Auth.USER, Auth.GUEST_OK, Auth.ADMIN):
            without.error(401, "M_MISSING_TOKEN")
        else:
            assert without.json.get("errcode") != "M_MISSING_TOKEN"
        for answer in wrong:
            if endpoint.spec.auth is Auth.NONE:
                assert answer.json.get("errcode") != "M_UNKNOWN_TOKEN"
            else:
                assert not answer.error(401, "M_UNKNOWN_TOKEN").get("soft_logout")


async def test_what_is_for_servers_is_for_nobody_else(server: TestServer, alice: Client) -> None:
    """Server-server API, "Request Authentication": whatever a client sends, token or not, in any shape."""
    checked = 0
    bodies: tuple[object, ...] = ({}, b"{")
    for endpoint in all_of(server):
        if endpoint.spec.auth is Auth.SERVER:
            method, path = endpoint.spec.method, path_to(endpoint)
            for client in (server.anonymous(), alice):
                for body in bodies:
                    (await ask(client, method, path, body=body)).error(401, "M_UNAUTHORIZED")
            checked += 1
    assert checked > 20


async def test_guests(server: TestServer, guest: Client) -> None:
    for endpoint in for_clients(server):
        if endpoint.function.__name__ in LETS_GO | LASTS:
            continue
        path, now = path_to(endpoint, guest.user_id), {"timeout": 0}
        answer = await ask(guest, endpoint.spec.method, path, body={}, query=now)
        if endpoint.spec.auth in (Auth.USER, Auth.ADMIN):
            answer.error(403, "M_GUEST_ACCESS_FORBIDDEN")
        else:
            assert answer.json.get("errcode") != "M_GUEST_ACCESS_FORBIDDEN", endpoint.spec


async def test_locked_users_can_only_log_out(server: TestServer, alice: Client) -> None:
    """Client-server API, "Account locking"."""
    await server.restrict(alice, "is_locked")
    for endpoint in for_clients(server):
        if endpoint.spec.auth is Auth.NONE or endpoint.function.__name__ in LETS_GO:
            continue
        for version in ("v3", "r0"):
            path = path_to(endpoint).replace("/v3/", f"/{version}/")
            answer = await ask(alice, endpoint.spec.method, path, body={})
            assert answer.error(401, "M_USER_LOCKED")["soft_logout"] is True
    (await ask(alice, "POST", "/_matrix/client/v3/logout")).ok()
    (await ask(alice, "GET", "/_matrix/client/v3/account/whoami")).error(401, "M_UNKNOWN_TOKEN")


async def test_methods_that_are_not_there(server: TestServer) -> None:
    client = server.anonymous()
    served: dict[str, set[str]] = {}
    for endpoint in all_of(server):
        served.setdefault(path_to(endpoint), set()).add(endpoint.spec.method)
    for path, methods in served.items():
        for method in METHODS:
            answer = await ask(client, method, path)
            if method in methods:
                assert answer.json.get("errcode") != "M_UNRECOGNIZED"
            elif answer.status != 401:  # another path with a parameter has this method
                answer.error(405, "M_UNRECOGNIZED")


async def test_preflights_get_their_headers_and_nothing_else(server: TestServer, alice: Client) -> None:
    """Client-server API, "Web Browser Clients"."""
    paths = {path_to(endpoint) for endpoint in all_of(server)} | {"/", "/_matrix/client/v3/nothing"}
    for path in sorted(paths):
        preflight = await ask(alice, "OPTIONS", path, headers={"Origin": "https://app.example"})
        assert (preflight.status, preflight.json) == (204, None)
        for answer in (preflight, await ask(server.anonymous(), "PATCH", path)):
            assert answer.headers["access-control-allow-origin"] == "*"
            allowed = answer.headers["access-control-allow-methods"].split(", ")
            assert {"GET", "POST", "PUT", "DELETE", "OPTIONS"} <= set(allowed)
            headers = answer.headers["access-control-allow-headers"].split(", ")
            assert {"X-Requested-With", "Content-Type", "Authorization"} <= set(headers)
    (await ask(alice, "GET", "/_matrix/client/v3/account/whoami")).ok()  # nor was she logged out


async def test_old_paths_and_slashes_lead_to_the_same(server: TestServer) -> None:
    client = server.anonymous()
    for endpoint in all_of(server):
        path = path_to(endpoint)
        expected = await ask(client, endpoint.spec.method, path, body={})
        for other in (f"{path}/", path.replace("/v3/", "/r0/"), f"{path.replace('/v3/', '/r0/')}/"):
            if other == path:
                continue
            answer = await ask(client, endpoint.spec.method, other, body={})
            assert answer.status == expected.status, other
            assert (answer.json or {}).get("errcode") == (expected.json or {}).get("errcode"), other


def query_fields(endpoint: Endpoint) -> tuple[msgspec.structs.FieldInfo, ...]:
    """What the endpoint looks at in its query."""
    hint = typing.get_type_hints(endpoint.function).get("query")
    return () if hint is None else msgspec.structs.fields(hint)


async def test_bodies_that_are_none(server: TestServer, alice: Client) -> None:
    for endpoint in for_clients(server):
        if endpoint.arguments.body is None:
            continue
        method, path = endpoint.spec.method, path_to(endpoint)
        query = {field.encode_name: "0" for field in query_fields(endpoint) if field.required}
        for body, errcode in ((b"{", "M_NOT_JSON"), (b"\xff", "M_NOT_JSON"), (b"[]", "M_BAD_JSON")):
            (await ask(alice, method, path, body=body, query=query)).error(400, errcode)


async def test_an_empty_body_is_as_good_as_an_empty_object(server: TestServer, alice: Client) -> None:
    """And no endpoint breaks for want of something in it."""
    for endpoint in all_of(server):
        if endpoint.function.__name__ in LETS_GO | LASTS:
            continue
        method, path = endpoint.spec.method, path_to(endpoint)
        bodies: tuple[object, ...] = ({}, None, b"")
        answers = [await ask(alice, method, path, body=body, query={"timeout": 0}) for body in bodies]
        assert answers[0].status < 500
        assert len({(each.status, (each.json or {}).get("errcode")) for each in answers}) == 1


async def test_pages_are_pages_whatever_is_sent(server: TestServer, alice: Client) -> None:
    """And they say so to browsers: nobody frames them, nor runs anything in them."""
    served = endpoints(server.server.config, server.server.services, list(Resource))
    pages = [endpoint for endpoint in served if endpoint.function.__name__ in PAGES]
    assert len(pages) == len(PAGES)
    attack = '"><script>alert(1)</script>'
    kinds: tuple[dict[str, str], ...] = ({}, {"Content-Type": "application/x-www-form-urlencoded"})
    for endpoint in pages:
        path = re.sub(r"\{\w+\}", "m.login.terms", endpoint.spec.path)
        for query in ({}, {"session": attack, "sid": attack, "token": attack, "device_id": attack}):
            for headers in kinds:
                for body in (
                    None,
                    b"",
                    b"{",
                    b"a=%",
                    b"\xff",
                    b"session=%00",
                    b"session=x&email=%22%3E%3Cscript%3E",
                ):
                    answer = await alice.request(
                        endpoint.spec.method, path, body, query=query, headers=headers, check=False
                    )
                    assert answer.page is not None
                    assert answer.page.count("<script") == answer.page.count("<script nonce=")
                    assert answer.status < 500


def fields_of(hint: object) -> Iterator[tuple[str, str]]:
    """The fields of a query that not every text can be: their names, and a text that they cannot be."""
    for field in msgspec.structs.fields(cast("type[msgspec.Struct]", hint)):
        kinds = set(typing.get_args(field.type)) or {field.type}
        if str not in kinds and list[str] not in kinds:
            yield field.encode_name, "wrong"


async def test_queries_that_make_no_sense(server: TestServer, alice: Client) -> None:
    checked = 0
    for endpoint in for_clients(server):
        hint = typing.get_type_hints(endpoint.function).get("query")
        required = {field.encode_name: "0" for field in query_fields(endpoint) if field.required}
        for name, wrong in () if hint is None else fields_of(hint):
            query = {**required, name: wrong}
            answer = await ask(alice, endpoint.spec.method, path_to(endpoint), query=query)
            answer.error(400, "M_INVALID_PARAM")
            checked += 1
        if required:
            (await ask(alice, endpoint.spec.method, path_to(endpoint))).error(400, "M_MISSING_PARAM")
    assert checked > 10


async def test_oauth_answers_in_its_own_way_whatever_is_sent(server: TestServer, alice: Client) -> None:
    """An error has no `errcode`: clients tell the two kinds apart by that."""
    served = endpoints(server.server.config, server.server.services, list(Resource))
    checked = [endpoint for endpoint in served if endpoint.function.__name__ in OAUTH]
    assert len(checked) == len(OAUTH)
    kinds: tuple[dict[str, str], ...] = ({}, {"Content-Type": "application/x-www-form-urlencoded"})
    good = b"grant_type=refresh_token&client_id=x&token=y"
    for endpoint in checked:
        for headers in kinds:
            for body in (
                None,
                b"",
                b"{",
                b"[]",
                b"{}",
                b"a=%",
                b"\xff",
                b"token=%00",
                good,
                good + b"&" + good,
            ):
                for client in (alice, server.anonymous()):
                    answer = await client.request("POST", endpoint.spec.path, body, headers=headers)
                    assert answer.status in (200, 400, 401)
                    if answer.status != 200:
                        assert answer.json.keys() == {"error", "error_description"}
        answer = await alice.request("GET", endpoint.spec.path)
        answer.error(405, "M_UNRECOGNIZED")
