"""Client-server API, `oauth_server_metadata.yaml`."""

from pathlib import Path

import pytest

from homeserver.api import oauth_paths
from homeserver.config.sections import OAuth, Registration
from tests.api.client.oauth_harness import BASE, METADATA, OAuthServer, serving_oauth
from tests.api.server import TestServer
from tests.openapi import Specification

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"


async def test_what_it_says(oauth: OAuthServer) -> None:
    answer = await oauth.nobody.get(METADATA)
    found = answer.ok()
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert found["issuer"] == f"{BASE}/"
    endpoints = {name: value for name, value in found.items() if name.endswith(("_endpoint", "_uri"))}
    assert endpoints == {
        "authorization_endpoint": BASE + oauth_paths.AUTHORIZE,
        "token_endpoint": BASE + oauth_paths.TOKEN,
        "revocation_endpoint": BASE + oauth_paths.REVOKE,
        "registration_endpoint": BASE + oauth_paths.REGISTER,
        "device_authorization_endpoint": BASE + oauth_paths.DEVICE,
        "account_management_uri": BASE + oauth_paths.ACCOUNT,
    }
    assert found["response_types_supported"] == ["code"]
    assert {"query", "fragment"} <= set(found["response_modes_supported"])
    assert set(found["grant_types_supported"]) == {
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
    }
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["prompt_values_supported"] == ["create"]
    assert (await oauth.nobody.request("GET", UNSTABLE)).ok() == found
    # Password logins are there as well.
    flows = (await oauth.nobody.get("/_matrix/client/v3/login")).ok()["flows"]
    assert "m.login.password" in [flow["type"] for flow in flows]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_where_nobody_can_register(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    closed = Registration(enabled=False)
    async with serving_oauth(database_url, tmp_path, specification, registration=closed) as served:
        assert (await served.nobody.get(METADATA)).ok()["prompt_values_supported"] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_switched_off(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    """ "The server SHOULD respond with 404 and an `M_UNRECOGNIZED` error code"."""
    async with serving_oauth(database_url, tmp_path, specification, oauth=OAuth(enabled=False)) as served:
        for path in (METADATA, UNSTABLE, "/_matrix/oauth2/authorize", "/_matrix/account"):
            (await served.nobody.get(path)).error(404, "M_UNRECOGNIZED")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_server_that_does_not_know_its_address(server: TestServer) -> None:
    """It cannot tell where the pages are, and must not believe whoever asks."""
    for path in (METADATA, UNSTABLE):
        answer = await server.anonymous().request("GET", path, headers={"X-Forwarded-Host": "evil.example"})
        answer.error(404, "M_UNRECOGNIZED")
