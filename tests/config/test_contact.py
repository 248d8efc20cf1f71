"""The sections about addresses of people, and what must be agreed to."""

from pathlib import Path

import pytest

from homeserver.config import Config, ConfigError, checks, load

NAME = "server_name: example.org\n"
URL = "public_base_url: https://matrix.example.org\n"


def load_text(folder: Path, text: str) -> Config:
    path = folder / "homeserver.yaml"
    path.write_text(text, "utf-8")
    return load(path)


def email(**keys: str) -> str:
    lines = {"host": "smtp.example.org", "sender": "matrix@example.org", **keys}
    return "email:\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items())


def test_a_mail_server(tmp_path: Path) -> None:
    text = NAME + URL + email(sender='"Example <matrix@example.org>"', username="x", password="y")
    section = load_text(tmp_path, text).email
    assert section is not None
    assert (section.security, section.port, section.timeout_s) == ("starttls", None, 20)
    local = load_text(
        tmp_path, NAME + URL + email(host="localhost", security="none", username="x", password="y")
    )
    assert local.email is not None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (email(), "email: needs public_base_url"),
        (URL + email(host="smtp.example.org:25"), "email.host: smtp.example.org:25: is not a host"),
        (URL + email(sender="Example"), "email.sender: Example: is not a sender"),
        (URL + email(username="x"), "email.password: is missing"),
        (URL + email(password="x"), "email.username: is missing"),
        (
            URL + email(security="none", username="x", password="y"),
            "email.security: none: would send the password",
        ),
        (URL + email(security="ssl"), "email.security: ssl: must be one of none, starttls, tls"),
        (URL + email(port="0"), "email.port: 0: must be a whole number from 1 to 65535"),
        (URL + email(allow='["a b"]'), "email.allow[0]: a b: matches nothing"),
        (URL + email(pasword="x"), "email.pasword: unknown key: did you mean email.password?"),
        ("registration: {requires_email: true}", "registration.requires_email: true: cannot be"),
        ("identity_servers: {allow: [a b]}", "identity_servers.allow[0]: a b: matches nothing"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, NAME + text)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (
            "{id: a b, version: '1', texts: [{language: en, name: A, url: 'https://x/y'}]}",
            "[0].id: a b: must be",
        ),
        (
            "{id: a, version: '1', texts: [{language: e, name: A, url: 'https://x/y'}]}",
            "[0].texts[0].language: e:",
        ),
        (
            "{id: a, version: '1', texts: [{language: en, name: A, url: 'ftp://x/y'}]}",
            "[0].texts[0].url: ftp://x/y:",
        ),
        (
            "{id: a, version: 1.0, texts: [{language: en, name: A, url: 'https://x'}]}",
            "[0].version: 1.0: must be text",
        ),
        ("{id: a, version: '1', texts: []}", "[0].texts: []: must be"),
    ],
)
def test_mistakes_in_policies(tmp_path: Path, policy: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"{NAME}registration: {{policies: [{policy}]}}")
    assert str(caught.value).startswith(f"registration.policies{complaint}")


def test_policies_have_names_of_their_own(tmp_path: Path) -> None:
    text = "{language: en, name: A, url: 'https://x/y'}"
    policy = f"{{id: a, version: '1', texts: [{text}]}}"
    with pytest.raises(ConfigError, match="twice"):
        load_text(tmp_path, f"{NAME}registration: {{policies: [{policy}, {policy}]}}")
    policy = f"{{id: a, version: '1', texts: [{text}, {text}]}}"
    with pytest.raises(ConfigError, match="twice"):
        load_text(tmp_path, f"{NAME}registration: {{policies: [{policy}]}}")


def test_the_authorities_of_the_mail_server_must_be_there(tmp_path: Path) -> None:
    config = load_text(tmp_path, NAME + URL + email(trusted_ca_file="ca.pem"))
    with pytest.raises(ConfigError, match=r"email\.trusted_ca_file"):
        checks.check_files(config)
