"""The grammar of the URIs that browsers are sent on to; `test_oauth_clients` and `test_sso_redirects` have its uses."""

import pytest

from homeserver.core.redirect_uris import MAX_URI, Site, form_source, is_uri, scheme_of, site_of


@pytest.mark.parametrize(
    ("uri", "site"),
    [
        ("https://app.example.com", Site("https", "app.example.com", None, "")),
        ("HTTPS://App.Example.com:8443/A?b#c", Site("https", "app.example.com", 8443, "/A?b#c")),
        ("http://[::1]:1/a", Site("http", "[::1]", 1, "/a")),
        ("http://localhost?a", Site("http", "localhost", None, "?a")),
        ("https://a@example.com/", None),
        ("https://example.com:0/", None),
        ("https://example.com:65536/", None),
        ("https://example.com:/", None),
        ("https://-example.com/", None),
        ("https:example.com", None),
        ("ftp://example.com/", None),
    ],
)
def test_sites(uri: str, site: Site | None) -> None:
    assert site_of(uri) == site


@pytest.mark.parametrize(
    ("text", "scheme"), [("Com.Example:/a", "com.example"), ("1a:/x", None), ("a", None), ("a+b-1:", "a+b-1")]
)
def test_schemes(text: str, scheme: str | None) -> None:
    assert scheme_of(text) == scheme


def test_what_is_a_uri() -> None:
    for text in ("https://example.com/%20", "a:b", "x" * MAX_URI):
        assert is_uri(text)
    for text in ("", "a b", "a\n", "%", "%zz", "\u00e4", "a\\b", "x" * (MAX_URI + 1), "a#b", "a#b#c"):
        assert not is_uri(text)
        assert is_uri(text, may_have_fragment=True) == (text == "a#b")


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://app.example.com/callback", "https://app.example.com"),
        ("https://app.example.com:8443/x?y", "https://app.example.com:8443"),
        ("com.example.app:/callback", "com.example.app:"),
        ("http://localhost/callback", "http://localhost"),
        ("http://127.0.0.1:1234/callback", "http://127.0.0.1:1234"),
        ("http://[::1]:1234/callback", "http:"),
    ],
)
def test_what_forms_may_lead_to(uri: str, source: str) -> None:
    assert form_source(uri) == source
