"""Client-server API, "Client metadata" and "Redirect URI validation", by its own examples and by others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.oauth_clients import ClientMetadata
from homeserver.core.oauth_errors import OAuthError
from homeserver.core.redirect_uris import where_it_leads

LEAST: dict[str, Any] = {"client_uri": "https://example.com/"}


def registered(**values: Any) -> ClientMetadata:
    document = {**LEAST, "redirect_uris": ["https://example.com/callback"], **values}
    return ClientMetadata.of({name: value for name, value in document.items() if value is not None})


def refusal(**values: Any) -> str:
    with pytest.raises(OAuthError) as caught:
        registered(**values)
    return caught.value.code


WEB_GOOD = [
    "https://example.com/callback",
    "https://app.example.com/callback",
    "https://example.com:5173/?query=value",
    "https://EXAMPLE.com/",
    "https://example.com",
    "https://a.b.c.example.com/%7Euser?x=%20",
]
WEB_BAD = [
    "https://example.com/callback#fragment",
    "http://example.com/callback",
    "http://localhost/",
    "https://localhost/callback",
    "https://example.org/callback",
    "https://notexample.com/callback",
    "https://example.com.evil.org/",
    "https://user@example.com/",
    "https://user:pass@example.com/",
    "https://evil.org\\@example.com/",
    "https://evil.org%00.example.com/",
    "https://example.com@evil.org/",
    "https://[::1]/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:/",
    "https://.example.com/",
    "https://-x.example.com/",
    "https://example.com./",
    "https:/example.com/",
    "https:example.com/",
    "//example.com/",
    "/callback",
    "",
    " https://example.com/",
    "https://example.com/\n",
    "https://example.com/\t",
    "https://example.com/ö",
    "https://exämple.com/",
    "https://example.com/%",
    "https://example.com/%zz",
    "https://example.com/" + "x" * 2_048,
    "javascript:alert(1)",
    "data:text/html,x",
]
NATIVE_GOOD = [
    "com.example.app:/callback",
    "com.example:/",
    "com.example:callback",
    "com.example.app:/callback?a=b",
    "COM.example.App:/",
    "http://localhost/callback",
    "http://127.0.0.1/callback",
    "http://[::1]/callback",
    "http://localhost",
    "https://app.example.com/callback",
]
NATIVE_BAD = [
    "example:/callback",
    "com.example.app://callback",
    "com.example.app://",
    "https://localhost/callback",
    "http://localhost:1234/callback",
    "http://127.0.0.2/callback",
    "http://user@localhost/",
    "http://localhost.evil.org/",
    "http://localhost@evil.org/",
    "com.example.app:/callback#fragment",
    "com.examples:/callback",
    "com.example-evil:/callback",
    "org.example.app:/callback",
    "com:/",
    "javascript:alert(1)",
    "file:/etc/passwd",
    "http://example.com/callback",
]


@pytest.mark.parametrize("uri", WEB_GOOD)
def test_redirect_uris_of_web_clients(uri: str) -> None:
    metadata = registered(redirect_uris=[uri])
    assert metadata.redirect_uris == (uri,)
    assert metadata.allows(uri)
    assert (where_it_leads(uri) or "").endswith("example.com")


@pytest.mark.parametrize("uri", [*WEB_BAD, *(uri for uri in NATIVE_GOOD if not uri.startswith("https:"))])
def test_others_that_web_clients_cannot_have(uri: str) -> None:
    assert refusal(redirect_uris=[uri]) == "invalid_redirect_uri"
    assert refusal(redirect_uris=[uri], application_type="web") == "invalid_redirect_uri"
    assert refusal(redirect_uris=["https://example.com/", uri]) == "invalid_redirect_uri"


@pytest.mark.parametrize("uri", NATIVE_GOOD)
def test_redirect_uris_of_native_clients(uri: str) -> None:
    metadata = registered(redirect_uris=[uri], application_type="native")
    assert metadata.allows(uri)
    assert (where_it_leads(uri) is None) == (not uri.startswith("https:"))


@pytest.mark.parametrize("uri", [*NATIVE_BAD, *(uri for uri in WEB_BAD if uri != "http://localhost/")])
def test_others_that_native_clients_cannot_have(uri: str) -> None:
    assert refusal(redirect_uris=[uri], application_type="native") == "invalid_redirect_uri"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_any_port_of_a_loopback_address(host: str) -> None:
    """ "There MUST NOT be a port. The homeserver MUST then accept any port number during the authorisation flow." """
    metadata = registered(
        redirect_uris=[f"http://{host}/callback?a=b"], application_type="native", client_name="x"
    )
    assert metadata.allows(f"http://{host}:1234/callback?a=b")
    for other in (
        f"http://{host}:1234/other",
        f"http://{host}:1234/callback",
        f"http://{host}:/callback?a=b",
        f"http://{host}:123456/callback?a=b",
        f"http://{host}:1234/callback?a=b#c",
        f"http://{host}:1234/callback?a=b\n",
        f"https://{host}:1234/callback?a=b",
        "http://evil.org:1234/callback?a=b",
        f"http://evil.org@{host}:1234/callback?a=b",
    ):
        assert not metadata.allows(other)


def test_redirect_uris_are_taken_literally() -> None:
    metadata = registered(redirect_uris=["https://example.com/callback"])
    for other in (
        "https://example.com/callback/",
        "https://example.com/callback?",
        "https://example.com/Callback",
        "https://EXAMPLE.com/callback",
        "https://example.com:443/callback",
        "https://app.example.com/callback",
        "https://example.com:1234/callback",
    ):
        assert not metadata.allows(other)


def test_what_is_compared_literally_is_written_in_one_way() -> None:
    """Scheme and loopback address are in small letters."""
    assert refusal(redirect_uris=["HTTPS://example.com/callback"]) == "invalid_redirect_uri"
    for uri in ("HTTPS://example.com/callback", "HTTP://localhost/callback", "http://LOCALHOST/callback"):
        assert refusal(redirect_uris=[uri], application_type="native") == "invalid_redirect_uri"
    local = registered(redirect_uris=["http://localhost/callback"], application_type="native")
    for uri in ("HTTP://localhost:1234/callback", "http://LOCALHOST:1234/callback"):
        assert not local.allows(uri)


def test_nothing_belongs_to_a_host_that_is_everybodys() -> None:
    everybodys = {"client_uri": "https://com/"}
    assert refusal(**everybodys, redirect_uris=["https://evil.com/"]) == "invalid_redirect_uri"
    native = {"redirect_uris": ["com.evil:/"], "application_type": "native"}
    assert refusal(**everybodys, **native) == "invalid_redirect_uri"
    page = {"redirect_uris": ["https://com/"], "logo_uri": "https://evil.com/logo.png"}
    assert refusal(**everybodys, **page) == "invalid_client_metadata"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"client_uri": None}, "invalid_client_metadata"),
        ({"client_uri": "http://example.com/"}, "invalid_client_metadata"),
        ({"client_uri": "https://user@example.com/"}, "invalid_client_metadata"),
        ({"client_uri": "HTTPS://example.com/"}, "invalid_client_metadata"),
        ({"client_uri": "https://example.com/#a#b"}, "invalid_client_metadata"),
        ({"client_uri": "example.com"}, "invalid_client_metadata"),
        ({"client_uri": 5}, "invalid_client_metadata"),
        ({"client_uri": "https://example.com/\0"}, "invalid_client_metadata"),
        ({"logo_uri": "http://example.com/logo.png"}, "invalid_client_metadata"),
        ({"logo_uri": "https://example.org/logo.png"}, "invalid_client_metadata"),
        ({"tos_uri": "https://user@example.com/tos"}, "invalid_client_metadata"),
        ({"tos_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
        ({"policy_uri": "https://example.org/"}, "invalid_client_metadata"),
        ({"policy_uri": ["https://example.com/"]}, "invalid_client_metadata"),
        ({"client_name": "x" * 129}, "invalid_client_metadata"),
        ({"client_name": "evil\u202egnp.exe"}, "invalid_client_metadata"),
        ({"client_name": "a\nb"}, "invalid_client_metadata"),
        ({"client_name": 5}, "invalid_client_metadata"),
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://example.com/"}, "invalid_client_metadata"),
        ({"redirect_uris": [5]}, "invalid_client_metadata"),
        ({"redirect_uris": [f"https://example.com/{n}" for n in range(21)]}, "invalid_redirect_uri"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"response_types": []}, "invalid_client_metadata"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"grant_types": ["refresh_token"]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "invalid_client_metadata"),
        ({"application_type": "other"}, "invalid_client_metadata"),
        ({"application_type": 1}, "invalid_client_metadata"),
    ],
)
def test_what_is_refused(values: dict[str, Any], code: str) -> None:
    assert refusal(**values) == code


def test_what_is_registered() -> None:
    """What the text shows: what is not understood is left out."""
    document = {
        "client_name": "My App",
        "client_name#fr": "Mon application",
        "client_uri": "https://example.com/",
        "logo_uri": "https://example.com/logo.png",
        "tos_uri": "https://example.com/tos.html",
        "tos_uri#fr": "https://example.com/fr/tos.html",
        "policy_uri": "https://example.com/policy.html",
        "redirect_uris": ["https://app.example.com/callback"],
        "token_endpoint_auth_method": "none",
        "response_types": ["code", "other"],
        "grant_types": [
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "application_type": "web",
        "software_id": "x",
    }
    metadata = ClientMetadata.of(document)  # type: ignore[arg-type]  # as it is written
    assert metadata.document == {
        "client_name": "My App",
        "client_uri": "https://example.com/",
        "logo_uri": "https://example.com/logo.png",
        "tos_uri": "https://example.com/tos.html",
        "policy_uri": "https://example.com/policy.html",
        "redirect_uris": ["https://app.example.com/callback"],
        "token_endpoint_auth_method": "none",
        "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token"],
        "application_type": "web",
    }
    assert metadata.host == "example.com"


def test_what_may_be_left_out() -> None:
    metadata = registered()
    assert metadata.application_type == "web"
    assert metadata.grant_types == ("authorization_code", "refresh_token")
    assert metadata.response_types == ("code",)
    # A device without a browser is sent nowhere.
    device = registered(
        redirect_uris=None, grant_types=["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
    )
    assert device.redirect_uris == ()


def test_the_same_metadata_is_the_same_client() -> None:
    first = registered(client_name="An app", **{"client_name#fr": "Une app"})
    again = ClientMetadata.of(first.document)
    assert again == first
    assert again.client_id == first.client_id
    others = [
        registered(),
        registered(client_name="Another"),
        registered(client_name="An app", redirect_uris=["https://example.com/other"]),
    ]
    assert len({first.client_id, *(other.client_id for other in others)}) == 4


@given(st.text(alphabet="abc.:/@#?%\\[]0-\t\n ", max_size=30))
def test_whatever_is_allowed_leads_to_the_client(rest: str) -> None:
    """As a browser would read it: the host is the client's, or below it."""
    for uri in (f"https://{rest}", f"https://example.com{rest}", f"https://a{rest}example.com"):
        try:
            registered(redirect_uris=[uri])
        except OAuthError:
            continue
        authority = uri.removeprefix("https://").split("/")[0].split("?")[0]
        host = authority.split(":")[0].lower()
        assert host == "example.com" or host.endswith(".example.com")
        assert not set(uri) & set("\\\t\n #@") or "@" in uri.removeprefix(f"https://{authority}")
