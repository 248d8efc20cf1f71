"""Client-server API, "Scope"; RFC 6749 and RFC 7636: what an app asks for."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.oauth_errors import OAuthError
from homeserver.core.oauth_requests import AuthorizationRequest, Callback, Scope, is_proof, one

API = "urn:matrix:client:api:*"
DEVICE = "urn:matrix:client:device:"
OLD_API = "urn:matrix:org.matrix.msc2967.client:api:*"
OLD_DEVICE = "urn:matrix:org.matrix.msc2967.client:device:"

GOOD = {
    "response_type": ["code"],
    "scope": [f"{API} {DEVICE}AAABBBCCCDDD"],
    "code_challenge": ["72xySjpngTcCxgbPfFmkPHjMvVDl2jW1aWP7-J6rmwU"],
    "code_challenge_method": ["S256"],
}


@pytest.mark.parametrize(
    ("text", "device_id", "granted"),
    [
        (f"{API} {DEVICE}AAABBBCCCDDD", "AAABBBCCCDDD", None),
        (f"{DEVICE}AAABBBCCCDDD {API}", "AAABBBCCCDDD", None),
        (f"{OLD_API} {OLD_DEVICE}XYZ", "XYZ", None),
        (f"{API} {OLD_API} {DEVICE}XYZ {OLD_DEVICE}XYZ", "XYZ", None),
        (f"openid {API} email {DEVICE}XYZ urn:synapse:admin:*", "XYZ", f"{API} {DEVICE}XYZ"),
        (f"{API} {DEVICE}!#$%&'()*+,-./:;<=>?@[]^_`{{|}}~", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", None),
        (f"{API}   {DEVICE}a", "a", f"{API} {DEVICE}a"),
    ],
)
def test_scopes(text: str, device_id: str, granted: str | None) -> None:
    scope = Scope.parse(text)
    assert scope.device_id == device_id
    assert scope.text == (granted or text)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        API,
        f"{DEVICE}XYZ",
        f"{API} {DEVICE}",
        f"{API} {DEVICE}A {DEVICE}B",
        f"{API} {DEVICE}A {DEVICE}A",
        f"{API} {DEVICE}A {OLD_DEVICE}B",
        f"{API} {DEVICE}{'x' * 256}",
        f"{API} {DEVICE}ö",
        f'{API} {DEVICE}"',
        f"{API} {DEVICE}\\",
        f"{API}\t{DEVICE}A",
        f" {API} {DEVICE}A",
        f"urn:matrix:client:api:read {DEVICE}A",
        f"{API} {DEVICE}A " + "x" * 2_048,
    ],
)
def test_scopes_that_cannot_be(text: str | None) -> None:
    with pytest.raises(OAuthError) as caught:
        Scope.parse(text)
    assert caught.value.code == "invalid_scope"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"response_type": []}, "invalid_request"),
        ({"response_type": ["token"]}, "unsupported_response_type"),
        ({"response_type": ["code token"]}, "unsupported_response_type"),
        ({"response_mode": ["form_post"]}, "invalid_request"),
        ({"code_challenge": []}, "invalid_request"),
        ({"code_challenge": ["short"]}, "invalid_request"),
        ({"code_challenge": ["ö" * 43]}, "invalid_request"),
        ({"code_challenge_method": []}, "invalid_request"),
        ({"code_challenge_method": ["plain"]}, "invalid_request"),
        ({"code_challenge_method": ["s256"]}, "invalid_request"),
        ({"scope": []}, "invalid_scope"),
        ({"scope": ["openid"]}, "invalid_scope"),
        ({"prompt": ["none"]}, "interaction_required"),
        ({"state": ["a", "b"]}, "invalid_request"),
        ({"scope": [*GOOD["scope"], *GOOD["scope"]]}, "invalid_request"),
    ],
)
def test_requests_that_cannot_be(changed: dict[str, list[str]], code: str) -> None:
    asked = {name: values for name, values in {**GOOD, **changed}.items() if values}
    with pytest.raises(OAuthError) as caught:
        AuthorizationRequest.of(asked, "client", "https://example.com/")
    assert caught.value.code == code


def test_a_request() -> None:
    asked = {**GOOD, "prompt": ["create consent"], "unknown": ["x", "y"]}
    request = AuthorizationRequest.of(asked, "client", "https://example.com/")
    assert request.scope.device_id == "AAABBBCCCDDD"
    assert request.prompt == {"create", "consent"}


def test_a_parameter_without_a_value_is_none() -> None:
    assert one({"a": [""]}, "a") is None
    assert one({}, "a") is None
    assert one({"a": ["b"]}, "a") == "b"
    with pytest.raises(OAuthError):
        one({"a": ["b", "b"]}, "a")


def test_the_example_of_rfc_7636() -> None:
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert is_proof("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge)
    for wrong in (
        "",
        challenge,
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK",
        "x" * 42,
        "ö" * 43,
        "x" * 129,
    ):
        assert not is_proof(wrong, challenge)


@given(
    st.sampled_from(
        ["https://example.com/cb", "https://example.com/cb?a=b", "com.example:cb", "com.example:/"]
    ),
    st.sampled_from(["query", "fragment", "form_post"]),
    st.text(),
)
def test_answers_are_read_as_they_were_meant(uri: str, mode: str, state: str) -> None:
    callback = Callback.of({"response_mode": [mode], "state": [state]}, uri, "https://server/")
    answer = callback.with_code("c&=#")
    parts = urlsplit(answer)
    text = parts.fragment if mode == "fragment" else parts.query
    found = parse_qs(text, keep_blank_values=True, errors="surrogatepass")
    assert answer.startswith(uri)
    assert found["code"] == ["c&=#"]
    assert found["state"] == [state]
    assert found["iss"] == ["https://server/"]
    assert ("a" in found) == ("?" in uri and mode != "fragment")
