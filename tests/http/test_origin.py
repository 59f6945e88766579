import pytest

from topcoat.http.origin import Origin, authority, basic, is_loopback, split_host


def test_an_origin_has_the_default_port_of_its_scheme():
    assert Origin.of("https://reg.io/x") == ("https", "reg.io", 443)
    assert Origin.of("http://reg.io:5000/x") == ("http", "reg.io", 5000)


@pytest.mark.parametrize("url", ["https://reg.io", "http://reg.io:5000", "https://[::1]:5000", "http://[::1]"])
def test_an_origin_is_written_as_in_its_url(url):
    origin = Origin.of(url)
    assert f"{origin.scheme}://{origin.authority}" == url


@pytest.mark.parametrize(
    ("host", "port", "written"),
    [
        ("reg.io", 443, "reg.io"),
        ("reg.io", 5000, "reg.io:5000"),
        ("::1", 443, "[::1]"),
        ("::1", 5000, "[::1]:5000"),
        ("b\xfccher.example", 443, "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_written_as_in_a_url(host, port, written):
    assert authority(host, port, default=443) == written


@pytest.mark.parametrize(
    ("netloc", "parts"),
    [
        ("ghcr.io", ("ghcr.io", None)),
        ("localhost:5000", ("localhost", 5000)),
        ("[::1]", ("::1", None)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_host_and_port_are_split(netloc, parts):
    assert split_host(netloc) == parts


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("127.evil.example", False),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("128.0.0.1", False),
    ],
)
def test_only_addresses_and_localhost_count_as_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_basic_authentication_is_encoded_as_in_rfc_7617():
    # The example of RFC 7617.
    assert basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
