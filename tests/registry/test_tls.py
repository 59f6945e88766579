"""Certificates and schemes, from the configuration to the connection."""

import shutil
import ssl

import pytest

from tests.support.certificates import make_certificates
from tests.support.http_servers import scripted_server
from topcoat.errors import RegistryUnavailable
from topcoat.http import tls
from topcoat.registry.client import RegistryClient
from topcoat.registry.transport import MAX_ATTEMPTS
from topcoat.testing.registry import FakeRegistry


@pytest.fixture(autouse=True)
def _no_cached_context():
    """Make contexts anew, for they depend on the environment."""
    tls._context.cache_clear()


@pytest.fixture
def tls_fake(certificates):
    with FakeRegistry(tls=certificates.tls) as registry:
        registry.add_image("base", "1")
        yield registry


def _reaches(registry, **options):
    with RegistryClient(registry.host, **options) as client:
        return client.head_manifest("base", "1") is not None


def test_a_valid_certificate_is_accepted(tls_fake, certificates):
    assert _reaches(tls_fake, insecure=False, ca_file=certificates.ca)


def test_an_authority_in_dockers_certs_directory_is_used(tls_fake, certificates, etc):
    directory = etc / "docker" / "certs.d" / tls_fake.host
    directory.mkdir(parents=True)
    with open(certificates.ca) as file:
        (directory / "ca.crt").write_text(file.read())
    assert _reaches(tls_fake, insecure=False)


def test_an_unknown_authority_is_refused_with_a_hint(tls_fake):
    with pytest.raises(RegistryUnavailable, match=f"connect to {tls_fake.host}: invalid TLS certificate: ") as caught:
        _reaches(tls_fake, insecure=False)
    assert f"certs.d/{tls_fake.host}/ca.crt" in caught.value.hint
    assert "SSL_CERT_FILE" in caught.value.hint
    assert tls_fake.requests == []


def test_a_loopback_registry_with_tls_is_found_and_trusted(tls_fake):
    assert _reaches(tls_fake)
    assert _reaches(tls_fake, insecure=True)


def test_a_loopback_certificate_is_verified_by_a_given_authority(tls_fake, certificates, tmp_path):
    assert _reaches(tls_fake, ca_file=certificates.ca)
    other = make_certificates(tmp_path)
    with pytest.raises(RegistryUnavailable, match="invalid TLS certificate"):
        _reaches(tls_fake, ca_file=other.ca)


def test_an_invalid_authority_file_is_an_error_with_a_hint(tls_fake):
    with pytest.raises(RegistryUnavailable, match=r"cannot load the certificate authority /absent\.pem") as caught:
        _reaches(tls_fake, ca_file="/absent.pem")
    assert "PEM" in caught.value.hint


def test_plain_http_instead_of_tls_is_named(fake):
    with pytest.raises(RegistryUnavailable, match="does not support TLS") as caught:
        _reaches(fake, insecure=False)
    assert "insecure-registries" in caught.value.hint


def test_an_insecure_registry_falls_back_to_plain_http(fake, etc, monkeypatch):
    fake.add_image("base", "1")
    monkeypatch.setattr("topcoat.registry.hosts.is_loopback", lambda name: False)
    assert _reaches(fake, insecure=True)
    with RegistryClient(fake.host, insecure=True) as client:
        client.head_manifest("base", "1")
        client.head_manifest("base", "1")
        assert client._transport.base.startswith("http://")


def test_tls_connections_are_kept(tls_fake, certificates):
    with RegistryClient(tls_fake.host, ca_file=certificates.ca) as client:
        for _ in range(3):
            client.head_manifest("base", "1")
        assert [
            len(pool._idle) for (origin, _), pool in client._transport._pools.items() if origin.scheme == "https"
        ] == [1]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("has_certificate", [False, True])
def test_a_server_that_wants_another_client_certificate_is_explained(
    certificates, etc, tmp_path, monkeypatch, newest, has_certificate
):
    other = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.tls)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = newest

    def serve(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(1000)

    with scripted_server(*[serve] * MAX_ATTEMPTS) as host:
        if has_certificate:
            directory = etc / "docker" / "certs.d" / host
            directory.mkdir(parents=True)
            shutil.copy(other.server, directory / "client.cert")
            shutil.copy(other.key, directory / "client.key")
        with pytest.raises(RegistryUnavailable) as caught:
            _reaches_host(host, ca_file=certificates.ca)
    assert "client certificate" in f"{caught.value} {caught.value.hint}"
    assert f"certs.d/{host}" in caught.value.hint
    assert "_" not in str(caught.value).replace(host, "")


def _reaches_host(host, **options):
    with RegistryClient(host, insecure=False, **options) as client:
        client.head_manifest("base", "1")
