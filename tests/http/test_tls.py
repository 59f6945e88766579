import pytest

from topcoat.errors import RegistryUnavailable
from topcoat.http.tls import context
from topcoat.registry.client import RegistryClient
from topcoat.registry.hosts import HostConfig
from topcoat.testing.registry import FakeRegistry


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


def test_the_authority_can_be_named_by_ssl_cert_file(tls_fake, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    context.__globals__["_contexts"].clear()
    assert _reaches(tls_fake, insecure=False)


def test_the_authority_can_lie_in_dockers_certs_directory(tls_fake, certificates, etc):
    directory = etc / "docker" / "certs.d" / tls_fake.host
    directory.mkdir(parents=True)
    with open(certificates.ca) as file:
        (directory / "ca.crt").write_text(file.read())
    assert _reaches(tls_fake, insecure=False)


def test_an_unknown_authority_is_refused_with_what_to_do(tls_fake):
    context.__globals__["_contexts"].clear()
    with pytest.raises(RegistryUnavailable, match="its TLS certificate is not valid here: ") as caught:
        _reaches(tls_fake, insecure=False)
    assert f"certs.d/{tls_fake.host}/ca.crt" in caught.value.hint
    assert "SSL_CERT_FILE" in caught.value.hint
    assert tls_fake.requests == []


def test_a_loopback_registry_with_tls_is_found_and_trusted(tls_fake):
    assert _reaches(tls_fake)
    assert _reaches(tls_fake, insecure=True)


def test_a_loopback_certificate_is_checked_against_a_given_authority(tls_fake, certificates, tmp_path):
    from tests.support.certificates import make_certificates

    assert _reaches(tls_fake, ca_file=certificates.ca)
    other = make_certificates(tmp_path)
    with pytest.raises(RegistryUnavailable, match="certificate is not valid"):
        _reaches(tls_fake, ca_file=other.ca)


def test_plain_http_where_tls_is_wanted_is_named(fake):
    with pytest.raises(RegistryUnavailable, match="does not speak TLS") as caught:
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
        assert [len(pool._idle) for origin, pool in client._transport._pools.items() if origin.scheme == "https"] == [1]


def test_a_context_is_made_once_for_equal_settings(certificates):
    assert context(HostConfig(ca_files=(certificates.ca,))) is context(
        HostConfig(("http",), ca_files=(certificates.ca,))
    )


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_useless_authority_file_is_named(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(RegistryUnavailable, match=f"certificate authority {path} cannot be used") as caught:
        context(HostConfig(ca_files=(str(path),)))
    assert str(path) in caught.value.hint


def test_a_useless_client_certificate_is_named(certificates):
    with pytest.raises(RegistryUnavailable, match="client certificate"):
        context(HostConfig(client_certs=((certificates.ca, certificates.key),)))


def test_a_client_certificate_is_loaded(certificates):
    assert context(HostConfig(client_certs=(certificates.tls,)))


def test_without_authorities_where_python_looks_the_distributions_are_used(monkeypatch, certificates):
    import ssl

    import topcoat.http.tls as module

    nowhere = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda self: None)
    monkeypatch.setattr(module, "_BUNDLES", ("/no/such/file", certificates.ca))
    monkeypatch.setattr(module, "_contexts", {})
    assert module.context(HostConfig()).cert_store_stats()["x509_ca"] == 1
