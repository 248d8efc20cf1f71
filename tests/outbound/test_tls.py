"""Who is believed to be whom."""

from pathlib import Path

import pytest

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import federation_path
from homeserver.core.identifiers import ServerName
from tests.federation.certificates import Authority
from tests.outbound.scripted import ScriptedServer, caller, certify, ok, scripted_server

PATH = federation_path("v1", "version")


async def test_nothing_is_sent_to_who_has_no_certificate(server: ScriptedServer) -> None:
    remote = caller(None)
    with pytest.raises(RemoteError, match="certificate verify failed") as caught:
        await remote.client.get(server.name, PATH)
    assert caught.value.transient
    assert not server.requests


async def test_nothing_is_sent_to_who_has_the_certificate_of_another(authority: Authority) -> None:
    async with scripted_server(certify(authority, "other.test", "10.1.2.3"), lambda _: ok({})) as server:
        remote = caller(authority)
        for name in (server.name, ServerName(f"127.0.0.1:{server.port}")):
            with pytest.raises(RemoteError, match="the certificate is not for"):
                await remote.client.get(name, PATH)
        assert not server.requests


async def test_names_and_addresses(authority: Authority) -> None:
    """A name is told to the server before it shows a certificate (SNI), an address is not."""
    async with scripted_server(
        certify(authority, "localhost", "127.0.0.1", "*.wild.test"), lambda _: ok({})
    ) as server:
        remote = caller(authority)
        remote.resolver.hosts["a.wild.test"] = ["127.0.0.1"]
        for host, sni in (("localhost", "localhost"), ("127.0.0.1", None), ("a.wild.test", "a.wild.test")):
            await remote.client.get(ServerName(f"{host}:{server.port}"), PATH)
            assert server.requests[-1].sni == sni
            assert server.requests[-1].headers["host"] == f"{host}:{server.port}"
        remote.transport.close()


async def test_addresses_of_ipv6(authority: Authority) -> None:
    async with scripted_server(certify(authority, "::1"), lambda _: ok({}), address="::1") as server:
        remote = caller(authority)
        await remote.client.get(ServerName(f"[::1]:{server.port}"), PATH)
        assert server.requests[0].headers["host"] == f"[::1]:{server.port}"
        assert server.requests[0].sni is None
        remote.transport.close()


async def test_certificates_may_be_left_unchecked(authority: Authority) -> None:
    async with scripted_server(certify(authority, "other.test"), lambda _: ok({"ok": True})) as server:
        remote = caller(None, verify=False)
        assert await remote.client.get(server.name, PATH) == {"ok": True}
        remote.transport.close()


async def test_the_environment_names_the_authorities(
    authority: Authority, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    remote = caller(None)
    assert await remote.client.get(server.name, PATH) == {"ok": True}
    remote.transport.close()


async def test_the_configured_authority_is_trusted_besides(
    authority: Authority, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    own = Authority.make(tmp_path, "Another authority")
    remote = caller(own)
    async with scripted_server(certify(own, "localhost"), lambda _: ok({"own": True})) as mine:
        assert await remote.client.get(mine.name, PATH) == {"own": True}
        assert await remote.client.get(server.name, PATH) == {"ok": True}
        remote.transport.close()
