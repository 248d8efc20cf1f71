"""Client-server API, "Client login via SSO": where a browser may be sent with a login token."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import InvalidParam
from homeserver.core.redirect_uris import MAX_URI, form_source, where_it_leads
from homeserver.core.sso_redirects import check_redirect_url, with_token


@pytest.mark.parametrize(
    ("uri", "host", "source", "then"),
    [
        (
            "https://app.example.com/",
            "app.example.com",
            "https://app.example.com",
            "https://app.example.com/?loginToken=T",
        ),
        (
            "https://APP.example.com:8443/?a=b&c#/home?x=y",
            "app.example.com",
            "https://app.example.com:8443",
            "https://APP.example.com:8443/?a=b&c&loginToken=T#/home?x=y",
        ),
        # What an app has there that shows a room by its alias.
        (
            "https://app.example.com/#/room/#a:b.example",
            "app.example.com",
            "https://app.example.com",
            "https://app.example.com/?loginToken=T#/room/#a:b.example",
        ),
        ("http://element.lan", "element.lan", "http://element.lan", "http://element.lan?loginToken=T"),
        ("http://192.0.2.7:80/x", "192.0.2.7", "http://192.0.2.7:80", "http://192.0.2.7:80/x?loginToken=T"),
        ("https://[2001:db8::1]/x", "[2001:db8::1]", "https:", "https://[2001:db8::1]/x?loginToken=T"),
        ("http://localhost:1234/a", None, "http://localhost:1234", "http://localhost:1234/a?loginToken=T"),
        ("http://127.0.0.1:99", None, "http://127.0.0.1:99", "http://127.0.0.1:99?loginToken=T"),
        ("http://[::1]:1234/a", None, "http:", "http://[::1]:1234/a?loginToken=T"),
        ("element://connect", None, "element:", "element://connect?loginToken=T"),
        ("Im.FluffyChat://login", None, "im.fluffychat:", "Im.FluffyChat://login?loginToken=T"),
        ("com.example.app:/callback?a", None, "com.example.app:", "com.example.app:/callback?a&loginToken=T"),
    ],
)
def test_where_apps_are(uri: str, host: str | None, source: str, then: str) -> None:
    check_redirect_url(uri)
    assert (where_it_leads(uri), form_source(uri)) == (host, source)
    assert with_token(uri, "T") == then


@pytest.mark.parametrize(
    "query",
    ["loginToken=old", "loginToken=a&loginToken=b", "login%54oken=old", "loginToken", "a=1&loginToken=x&b=2"],
)
def test_there_is_one_token(query: str) -> None:
    found = urlsplit(with_token(f"https://app.example.com/?{query}#f", "T/+ ="))
    assert parse_qs(found.query)["loginToken"] == ["T/+ ="]
    assert found.fragment == "f"
    assert ("a=1&b=2&" in found.query) == ("a=1" in query)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "app.example.com",
        "/path",
        "//app.example.com/",
        "https://",
        "https:app.example.com",
        "https:///path",
        "http://",
        "https://good.example@evil.example/",
        "https://-evil.example/",
        "https://evil.example:999999/",
        "https://ev il.example/",
        "https://evil.example/\r\nSet-Cookie: a=b",
        'https://evil.example/"',
        "https://evil.example\\@good.example/",
        "https://evil.example;script-src/",
        "https://bücher.example/",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://a.example/x",
        "view-source:https://a.example/",
        "intent://scan/#Intent;end",
        "1app:/x",
        "app://[",
        "app://[]",
        "https://app.example.com:0/",
        "https://app.example.com:65536/",
        "https://a.example/" + "x" * MAX_URI,
    ],
)
def test_where_no_app_is(uri: str) -> None:
    with pytest.raises(InvalidParam):
        check_redirect_url(uri)


@given(st.one_of(st.text(), st.from_regex(r"[a-z]{1,10}:(//)?[!-~]{0,30}", fullmatch=True)))
def test_nothing_gets_into_a_header(uri: str) -> None:
    """What is accepted may stand in a Location header, its source in a Content Security Policy."""
    try:
        check_redirect_url(uri)
    except InvalidParam:
        return
    location = with_token(uri, "T")
    assert location.isascii()
    assert location.isprintable()
    assert not {*form_source(uri)} & {*" ;,'\"\t"}
    assert parse_qs(urlsplit(location).query)["loginToken"] == ["T"]
