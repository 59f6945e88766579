import pytest

from topcoat.http.errors import InvalidSettings
from topcoat.http.origin import Origin
from topcoat.http.proxy import proxy_for

_GHCR = Origin("https", "ghcr.io", 443)


def test_connections_are_direct_without_variables():
    assert proxy_for(_GHCR) is None


def test_each_scheme_has_its_own_variable(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:3128")
    monkeypatch.setenv("http_proxy", "other.corp")
    assert proxy_for(_GHCR)[:2] == ("proxy.corp", 3128)
    assert proxy_for(Origin("http", "ghcr.io", 80))[:2] == ("other.corp", 80)


def test_the_login_of_a_proxy_becomes_a_header_and_is_not_shown(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:p%40ss@proxy.corp:3128")
    proxy = proxy_for(_GHCR)
    assert proxy.headers == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}
    assert repr(proxy) == "Proxy(proxy.corp:3128)"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_is_never_proxied(monkeypatch, host):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.corp:3128")
    assert proxy_for(Origin("http", host, 80)) is None


@pytest.mark.parametrize(
    ("entries", "host", "port", "direct"),
    [
        ("*", "ghcr.io", 443, True),
        ("ghcr.io", "ghcr.io", 443, True),
        ("GHCR.io", "ghcr.IO", 443, True),
        ("corp", "reg.corp", 443, True),
        ("corp", "regcorp", 443, False),
        (".corp", "reg.corp", 443, True),
        (".corp", "corp", 443, False),
        ("*.corp", "reg.corp", 443, True),
        ("reg.corp:5000", "reg.corp", 5000, True),
        ("reg.corp:5000", "reg.corp", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "ten.corp", 443, False),
        ("2001:db8::/32", "2001:db8::7", 443, True),
        ("2001:db8::7", "2001:db8::7", 443, True),
        ("[2001:db8::7]:5000", "2001:db8::7", 5000, True),
        (" , x.io ,ghcr.io", "ghcr.io", 443, True),
        ("", "ghcr.io", 443, False),
    ],
)
def test_no_proxy_is_read_as_docker_reads_it(monkeypatch, entries, host, port, direct):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:3128")
    monkeypatch.setenv("NO_PROXY", entries)
    assert (proxy_for(Origin("https", host, port)) is None) is direct


@pytest.mark.parametrize(
    "url",
    [
        *("socks5://me:secret@proxy.corp:1080", "https://me:secret@proxy.corp", "http://", "me:secret@proxy:port"),
        *(f"http://me:secret{char}more@proxy:3128" for char in "#/?["),
        *("http://me:1234#secret@proxy:3128", "http://me:12/secret@proxy:3128", "me:secret@", "http://secret@[::1"),
        *("http://me:secret@proxy:99999", "http://me:secret@é..x"),
    ],
)
def test_an_invalid_proxy_is_named_by_its_variable_without_its_password(monkeypatch, url):
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(InvalidSettings, match="invalid HTTPS_PROXY") as caught:
        proxy_for(_GHCR)
    assert "secret" not in str(caught.value) + caught.value.hint
    assert "NO_PROXY" in caught.value.hint


def test_a_password_of_a_proxy_may_have_any_bytes(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:%e9%23\udcff@proxy.corp")
    assert proxy_for(_GHCR).headers == {"Proxy-Authorization": "Basic bWU66SP/"}
