import pytest

from homeserver.clients.addresses import AddressPolicy, is_ip_literal

REFUSED = """
0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.1 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
239.1.1.1 240.0.0.1 255.255.255.255 0.0.0.0
:: ::1 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1
64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:808:808::1 2001:db8::1 2002:7f00:1::1
2002:808:808::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%lo fec0::1 ff02::1 2606:4700::1%eth0
localhost 127.1 2130706433 0x7f.1 1.2.3 example.org [::1]
"""

ALLOWED = """
1.1.1.1 8.8.8.8 100.128.0.1 172.32.0.1 193.0.0.1 2606:4700::1111 2a00:1450::1 64:ff9b::8.8.8.8
"""


@pytest.mark.parametrize("address", REFUSED.split())
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not AddressPolicy().allows(address)


@pytest.mark.parametrize("address", ALLOWED.split())
def test_what_is_public_is_allowed(address: str) -> None:
    assert AddressPolicy().allows(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fd12::1", "8.8.8.8"])
def test_closed_networks(address: str) -> None:
    assert AddressPolicy(allow_private=True).allows(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "localhost"])
def test_what_is_no_machines_address_is_never_allowed(address: str) -> None:
    assert not AddressPolicy(allow_private=True).allows(address)


def test_literals() -> None:
    assert is_ip_literal("1.2.3.4")
    assert is_ip_literal("::1")
    assert not is_ip_literal("[::1]")
    assert not is_ip_literal("1.2.3")
    assert not is_ip_literal("a.test")
