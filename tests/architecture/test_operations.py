"""Every endpoint stands where the specification's page leads to, under its name, and is open to whom it says.

`endpoints.tsv`, beside the specification's files, has one line per operation: they themselves say only in prose
what guests may use.
"""

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Final, cast

import attrs
import msgspec
import pytest
from twisted.internet import reactor

from homeserver.api import oauth_paths
from homeserver.app.build import Reactor, build
from homeserver.app.endpoints import endpoints
from homeserver.config.sections import Config, Listener, Resource
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import SigningKey
from homeserver.http.endpoints import Auth, Endpoint
from homeserver.runtime.clock import SystemClock
from tests.openapi import spec_dir

SPEC = spec_dir()

pytestmark = pytest.mark.skipif(SPEC is None, reason="no specification, see tests/openapi.py")

OUR_OWN: Final = {
    "GET /health": "for load balancers",
    "GET /_synapse/admin/v1/register": "Synapse's admin API, which tools to set up servers know",
    "POST /_synapse/admin/v1/register": "as above",
    "POST /_synapse/admin/v1/send_server_notice": "Synapse's admin API, which tools of administrators know",
    "PUT /_synapse/admin/v1/send_server_notice/{}": "as above",
    "PUT /_matrix/client/v3/rooms/{}/delayed_event/{}/{}": "MSC4140, accepted",
    "GET /_matrix/client/v1/delayed_events/{}": "as above",
    "POST /_matrix/client/v1/delayed_events/{}/{}": "as above",
    "PUT /_matrix/client/unstable/org.matrix.msc4140/rooms/{}/delayed_event/{}/{}": "as above, before that",
    "GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events": "as above",
    "GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{}": "as above",
    "POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{}": "as above",
    "POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{}/{}": "as above",
    "PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device": "MSC3814",
    "GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device": "MSC3814",
    "DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device": "MSC3814",
    "GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{}/events": "MSC3814",
    "POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{}/events": "MSC3814, as clients ask",
    "GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports": "MSC4143",
    "GET /_matrix/client/unstable/io.homeserver.streaming_sync/events": "ours: docs/streaming.md",
    "GET /_matrix/client/unstable/io.homeserver.streaming_sync/socket": "as above",
    "GET /_matrix/client/v3/rooms/{}/state/{}": "an empty state key may be left out",
    "PUT /_matrix/client/v3/rooms/{}/state/{}": "as above",
    "GET /_matrix/static/client/register": "a page that clients open, once in the specification",
    "GET /_matrix/static/client/email/confirm": "the links in mails lead there",
    "POST /_matrix/static/client/email/confirm": "the form on that page",
    "POST /_matrix/static/client/email/request": "a form on the page of the stage m.login.email.identity",
    "GET /_matrix/client/unstable/org.matrix.msc2965/auth_metadata": "MSC2965, as today's clients know it",
    "POST /_matrix/oauth2/authorize": "the form on the page where people let apps in",
    "GET /_matrix/oauth2/link": "the page where people let devices in that show a code",
    "POST /_matrix/oauth2/link": "the form on that page",
    "POST /_matrix/oauth2/login/{}": "the form to log in, before those pages and that of the account",
    "POST /_matrix/oauth2/logout/{}": "a form on those pages",
    "GET /_matrix/oauth2/sso": "the page of the login by SSO, where people let apps in",
    "POST /_matrix/oauth2/sso": "the form on that page",
    "POST /_matrix/oauth2/signup/{}": "the form to make an account",
    "POST /_matrix/oauth2/signup/{}/email": "as above, to confirm an address for it",
    "POST /_matrix/account": "the forms on the pages of the account",
    "POST /_matrix/account/email": "as above, to confirm an address",
    "POST /_matrix/client/v4/sync": "MSC4186, accepted, and to be in the next version",
    "POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync": "MSC4186 as today's clients know it",
    "GET /_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription": "MSC4306",
    "PUT /_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription": "MSC4306",
    "DELETE /_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription": "MSC4306",
    "GET /_matrix/client/unstable/io.element.msc4308/thread_subscriptions": "MSC4308",
}
"""Paths that are not in the specification's files."""

ELSEWHERE: Final[Mapping[tuple[str, str], str]] = {
    # Beside the setting of state, which they share everything with.
    ("client-server", "getRoomState"): "room_state",
    ("client-server", "getRoomStateWithKey"): "room_state",
    # These have no file.
    ("client-server", "uiaFallback"): "uia_fallback",
    ("client-server", "uiaFallbackSubmit"): "uia_fallback",
    ("client-server", "loginFallback"): "login_fallback",
    ("client-server", "oauthAuthorize"): "oauth_authorization",
    ("client-server", "oauthToken"): "oauth_tokens",
    ("client-server", "oauthRevoke"): "oauth_tokens",
    ("client-server", "oauthRegisterClient"): "oauth_tokens",
    ("client-server", "oauthDeviceAuthorization"): "oauth_tokens",
    ("client-server", "accountManagement"): "account_management",
}
"""Operations that do not stand in the module of their file."""

LOCATIONS: Final[Mapping[str, str]] = {
    "{authorization_endpoint}": oauth_paths.AUTHORIZE,
    "{token_endpoint}": oauth_paths.TOKEN,
    "{revocation_endpoint}": oauth_paths.REVOKE,
    "{registration_endpoint}": oauth_paths.REGISTER,
    "{device_authorization_endpoint}": oauth_paths.DEVICE,
    "{account_management_uri}": oauth_paths.ACCOUNT,
}
"""Where operations are whose place the server's metadata tell: tests/api/client/test_oauth_server_metadata.py."""

OTHER_AUTH: Final[Mapping[str, Auth]] = {
    # Guests may do the same by `/send`, which is theirs.
    "redactEvent": Auth.GUEST_OK,
    # The configuration says whether guests get a login.
    "getTurnServer": Auth.GUEST_OK,
    # Who has a token may give it back.
    "logout": Auth.GUEST_OK,
    "logout_all": Auth.GUEST_OK,
    # Who has a token has it looked at: a locked account gets no mails sent, and the address is for no other one.
    "requestTokenTo3PIDEmail": Auth.OPTIONAL,
    "requestTokenTo3PIDMSISDN": Auth.OPTIONAL,
}
"""Operations that are open to others than the specification says."""

NO_LIMIT: Final = {"getLoginFlows", "getTokenOwner", "getLocalAliases"}
"""Operations without a rate limit of ours, although the specification knows one: they cost next to nothing."""

AUTH: Final = {
    "none": Auth.NONE,
    "access-token": Auth.USER,
    "access-token(guest ok)": Auth.GUEST_OK,
    "access-token-optional": Auth.OPTIONAL,
    "server-signature": Auth.SERVER,
}


@attrs.frozen
class Operation:
    """A line of the table."""

    api: str
    module: str
    operation_id: str
    auth: str
    is_rate_limited: bool


@cache
def operations() -> dict[str, list[Operation]]:
    """By method and path, which some share; parameters are `{}`, whatever their name."""
    assert SPEC is not None
    found: dict[str, list[Operation]] = {}
    with (SPEC / "endpoints.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            path = LOCATIONS.get(row["path"], row["path"])
            if not path.startswith("/"):
                continue
            module = row["module"].removesuffix(".yaml").replace("-", "_")
            operation = Operation(
                row["api"], module, row["operation_id"], row["auth"], row["rate_limited"] == "yes"
            )
            found.setdefault(f"{row['method']} {nameless(path)}", []).append(operation)
    return found


def nameless(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path.rstrip("/"))


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> list[Endpoint]:
    """All endpoints of a server."""
    folder = tmp_path_factory.mktemp("server")
    config = Config(
        server_name=ServerName("test.example"),
        data_dir=folder,
        database=f"sqlite:///{folder}/homeserver.db",
        signing_key_path=folder / "signing.key",
        public_base_url="https://matrix.test.example",
        listeners=(Listener(port=0),),
    )
    key = SigningKey.generate("test", seed=bytes(32))
    server = build(config, key, cast("Reactor", reactor), SystemClock())
    return endpoints(config, server.services, list(Resource))


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.spec.method} {nameless(endpoint.spec.path)}"


def operation_of(endpoint: Endpoint) -> Operation:
    """The operation that the endpoint is; of two on the same path the one that its name says."""
    candidates = operations()[name_of(endpoint)]
    named = [each for each in candidates if snake_case(each.operation_id) == method_of(endpoint).__name__]
    return (named or candidates)[0]


def method_of(endpoint: Endpoint) -> MethodType:
    return cast("MethodType", endpoint.function)


def test_every_path_is_in_the_specification_or_on_the_list(wired: list[Endpoint]) -> None:
    unknown = {name_of(each) for each in wired} - operations().keys()
    assert unknown == OUR_OWN.keys()


def test_every_endpoint_has_the_name_and_the_place_of_its_operation(wired: list[Endpoint]) -> None:
    wrong = []
    for endpoint in wired:
        if name_of(endpoint) in OUR_OWN:
            continue
        operation, method = operation_of(endpoint), method_of(endpoint)
        module = ELSEWHERE.get((operation.api, operation.operation_id), operation.module)
        folder = {"client-server": "client", "server-server": "federation"}[operation.api]
        expected = f"homeserver.api.{folder}.{module}.{snake_case(operation.operation_id)}"
        actual = f"{method.__self__.__class__.__module__}.{method.__name__}"
        if actual != expected:
            wrong.append(f"{name_of(endpoint)} is {actual}, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_every_endpoint_is_open_to_whom_the_specification_says(wired: list[Endpoint]) -> None:
    wrong = []
    for endpoint in wired:
        if name_of(endpoint) in OUR_OWN:
            continue
        operation = operation_of(endpoint)
        expected = OTHER_AUTH.get(operation.operation_id, AUTH[operation.auth])
        if endpoint.spec.auth is not expected:
            wrong.append(f"{name_of(endpoint)}: {endpoint.spec.auth}, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_what_is_rate_limited_elsewhere_is_so_here(wired: list[Endpoint]) -> None:
    unlimited = {
        operation_of(each).operation_id
        for each in wired
        if name_of(each) not in OUR_OWN and each.spec.limit is None and operation_of(each).is_rate_limited
    }
    assert unlimited == NO_LIMIT


def test_the_exceptions_are_still_some(wired: list[Endpoint]) -> None:
    served = {
        (operation_of(each).api, operation_of(each).operation_id)
        for each in wired
        if name_of(each) not in OUR_OWN
    }
    assert served >= ELSEWHERE.keys()
    assert {operation_id for _, operation_id in served} >= OTHER_AUTH.keys() | NO_LIMIT


def test_an_empty_state_key_changes_nothing_but_the_path(wired: list[Endpoint]) -> None:
    by_name = {name_of(each): each for each in wired}
    for method in ("GET", "PUT"):
        short = by_name[f"{method} /_matrix/client/v3/rooms/{{}}/state/{{}}"]
        full = by_name[f"{method} /_matrix/client/v3/rooms/{{}}/state/{{}}/{{}}"]
        assert short.function == full.function
        assert msgspec.structs.replace(short.spec, path="") == msgspec.structs.replace(full.spec, path="")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sendMessage", "send_message"),
        ("getEventByTimestamp", "get_event_by_timestamp"),
        ("logout_all", "logout_all"),
        ("redirectToSSO", "redirect_to_sso"),
        ("getWellknown", "get_wellknown"),
        ("getRoomKeysByRoomId", "get_room_keys_by_room_id"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_all_of_oauth_is_served(wired: list[Endpoint]) -> None:
    names = {name_of(each) for each in wired}
    told = {f"{method} {path}" for method in ("GET", "POST") for path in LOCATIONS.values()}
    assert {name for name in operations() if name in told} <= names
    assert len({name for name in operations() if name in told}) == len(LOCATIONS)


def test_the_table_is_drawn_from_these_files() -> None:
    """Every operation of the OpenAPI files has its line in the table, with its method and its path."""
    assert SPEC is not None
    lines = {(each.api, each.operation_id) for listed in operations().values() for each in listed}
    for api in ("client-server", "server-server"):
        for document in (SPEC / "api" / api).glob("*.yaml"):
            for operation_id in re.findall(
                r"^ +operationId: (\S+)", Path(document).read_text(), re.MULTILINE
            ):
                assert (api, operation_id) in lines
