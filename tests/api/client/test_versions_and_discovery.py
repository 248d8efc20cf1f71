"""What clients ask first: `versions.yaml`, `capabilities.yaml`, `wellknown.yaml`, `support.yaml`, `login.yaml`.

`policy_server.yaml`, too. Also the server-server API's `wellknown.yaml`, by which other servers find this one.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from homeserver.api.client.capabilities import Capabilities
from homeserver.api.client.versions import Versions
from homeserver.config.sections import DelayedEvents, PolicyServer, Rtc, RtcTransport, Support, SupportContact
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.core.room_versions import ROOM_VERSIONS
from tests.api.server import Client, TestServer, path_of, running_server
from tests.openapi import Specification

VERSIONS = "/_matrix/client/versions"
CLIENT = "/.well-known/matrix/client"
SERVER = "/.well-known/matrix/server"
TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
SUPPORT = "/.well-known/matrix/support"
POLICY = "/.well-known/matrix/policy_server"
POLICY_KEY = "6yhHGKhCiXTSEN2ksjV7kX+N6rBQZ3Xb+M7LlC6NS+s"


async def test_old_and_new_versions_are_listed(server: TestServer, alice: Client) -> None:
    for client in (server.anonymous(), alice):
        answer = (await client.get(VERSIONS)).ok()
        assert answer["versions"] == ["r0.6.1", *(f"v1.{minor}" for minor in range(1, 20))]
    (await server.anonymous().request("GET", VERSIONS, token="wrong")).error(401, "M_UNKNOWN_TOKEN")


async def test_features_before_their_time(server: TestServer) -> None:
    """No more than what works."""
    names = (
        "io.homeserver.streaming_sync",
        "org.matrix.msc3814",
        "org.matrix.msc4140",
        "org.matrix.msc4140.stable",
        "org.matrix.msc4354",
        "org.matrix.simplified_msc3575",
    )
    answer = (await server.anonymous().get(VERSIONS)).ok()
    assert answer["unstable_features"] == dict.fromkeys(names, True)
    features = {"org.example.feature": True}
    assert (await Versions(features).get_versions(None)).unstable_features == features


async def test_capabilities_tell_what_works(alice: Client, guest: Client) -> None:
    capabilities = (await alice.get(path_of("capabilities"))).ok()["capabilities"]
    versions = capabilities.pop("m.room_versions")
    limits = {"max_delay_ms": 604_800_000, "max_scheduled": 100}
    assert capabilities.pop("m.delayed_events") == limits
    assert capabilities.pop("org.matrix.msc4140.delayed_events") == limits
    assert versions == {"default": "12", "available": dict.fromkeys(ROOM_VERSIONS, "stable")}
    enabled = {name: value["enabled"] for name, value in capabilities.items()}
    assert enabled == {
        "m.change_password": True,
        "m.profile_fields": True,
        "m.set_displayname": True,
        "m.set_avatar_url": True,
        "m.3pid_changes": False,
        "m.get_login_token": True,
        "m.forget_forced_upon_leave": False,
    }
    room = await alice.create_room()
    create = (await alice.get(path_of("rooms", room, "state", "m.room.create", ""))).ok()
    assert create["room_version"] == versions["default"]
    for version in versions["available"]:
        await alice.create_room(room_version=version)
    (await guest.get(path_of("capabilities"))).error(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_moderation_is_for_administrators_where_it_exists() -> None:
    """`capabilities.yaml`: "should be omitted altogether if `suspend` and `lock` would be `false`"."""
    capabilities = Capabilities(
        default_room_version="12",
        change_password=True,
        threepid_changes=False,
        get_login_token=False,
        moderation=True,
        delayed_events=DelayedEvents(),
    )
    alice = Requester(
        UserID("@alice:x"), None, is_guest=False, is_admin=False, appservice_id=None, token_hash=b""
    )
    admin = attrs.evolve(alice, is_admin=True)
    moderation: dict[tuple[bool, bool], Any] = {}
    for who in (alice, admin):
        for there in (True, False):
            answer: Any = await msgspec.structs.replace(capabilities, moderation=there).get_capabilities(who)
            moderation[who.is_admin, there] = answer["capabilities"].get("m.account_moderation")
    assert moderation.pop((True, True)) == {"suspend": True, "lock": True}
    assert set(moderation.values()) == {None}


@pytest.fixture
def configured(database_url: str, tmp_path: Path, specification: Specification | None) -> Any:
    def run(**options: Any) -> AbstractAsyncContextManager[TestServer]:
        return running_server(database_url, tmp_path, specification, **options)

    return run


async def test_a_server_that_is_announced(configured: Any) -> None:
    contacts = (
        SupportContact(role="m.role.admin", matrix_id=UserID("@admin:test.example"), email_address="admin@x"),
        SupportContact(role="m.role.security", email_address="security@x"),
    )
    options: dict[str, Any] = {
        "public_base_url": "https://matrix.test.example",
        "support": Support(contacts=contacts, page="https://test.example/support"),
        "policy_server": PolicyServer(ed25519=POLICY_KEY),
    }
    async with configured(**options) as server:
        client = server.anonymous()
        base_url = "https://matrix.test.example"
        assert (await client.get(CLIENT)).ok() == {"m.homeserver": {"base_url": base_url}}
        # A port is given, for other servers would else try 8448.
        assert (await client.get(SERVER)).ok() == {"m.server": "matrix.test.example:443"}
        assert (await client.get(SUPPORT)).ok() == {
            "contacts": [
                {"role": "m.role.admin", "matrix_id": "@admin:test.example", "email_address": "admin@x"},
                {"role": "m.role.security", "email_address": "security@x"},
            ],
            "support_page": "https://test.example/support",
        }
        assert (await client.get(POLICY)).ok() == {"public_keys": {"ed25519": POLICY_KEY}}
        # These are for everybody: a token, even a wrong one, is not looked at.
        for path in (CLIENT, SERVER, SUPPORT, POLICY):
            assert (await client.request("GET", path, token="wrong")).status == 200


async def test_what_carries_calls(configured: Any) -> None:
    """MSC4143, by its endpoint and by the file in which clients looked for it before."""
    services = [f"https://rtc{number}.test.example/lk" for number in (1, 2)]
    rtc = Rtc(transports=tuple(RtcTransport(livekit_service_url=url) for url in services))
    transports = [{"type": "livekit", "livekit_service_url": url} for url in services]
    async with configured(public_base_url="https://matrix.test.example", rtc=rtc) as server:
        for client in (await server.user("alice"), await server.guest()):
            assert (await client.get(TRANSPORTS)).ok() == {"rtc_transports": transports}
        client = server.anonymous()
        (await client.get(TRANSPORTS)).error(401, "M_MISSING_TOKEN")
        assert (await client.get(CLIENT)).ok()["org.matrix.msc4143.rtc_foci"] == transports
        assert (await client.get(VERSIONS)).ok()["unstable_features"]["org.matrix.msc4143"] is True


async def test_only_the_page_of_support(configured: Any) -> None:
    async with configured(support=Support(page="https://test.example/")) as server:
        assert (await server.anonymous().get(SUPPORT)).ok() == {"support_page": "https://test.example/"}


async def test_a_server_that_is_not_announced(server: TestServer, alice: Client) -> None:
    assert (await alice.get(TRANSPORTS)).ok() == {"rtc_transports": []}
    client = server.anonymous()
    assert "org.matrix.msc4143" not in (await client.get(VERSIONS)).ok()["unstable_features"]
    (await client.get(CLIENT)).error(404, "M_NOT_FOUND")
    (await client.get(SUPPORT)).error(404, "M_NOT_FOUND")
    (await client.get(POLICY)).error(404, "M_NOT_FOUND")
    assert (await client.get(SERVER)).ok() == {"m.server": "test.example"}
