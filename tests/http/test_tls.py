import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support.certificates import make_certificates
from tests.support.http_servers import ok, read_request, respond, scripted_server
from topcoat.http import tls
from topcoat.http.errors import InvalidSettings
from topcoat.http.origin import Origin
from topcoat.http.pool import Pool
from topcoat.http.request import Request
from topcoat.http.tls import TLSSettings, tls_context


@pytest.fixture(autouse=True)
def _no_cached_context():
    """Make contexts anew, for they depend on the environment."""
    tls._context.cache_clear()


def _get(host, settings):
    pool = Pool(Origin.of(f"https://{host}"), settings)
    try:
        return pool.exchange(Request("GET", f"https://{host}/", {})).read_all(100)
    finally:
        pool.close()


def test_a_certificate_of_a_given_authority_is_accepted(certificates):
    with scripted_server(respond(ok(b"hi")), tls=certificates.tls) as host:
        assert _get(host, TLSSettings(ca_files=(certificates.ca,))) == b"hi"


def test_ssl_cert_file_names_the_authorities(certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    with scripted_server(respond(ok(b"hi")), tls=certificates.tls) as host:
        assert _get(host, TLSSettings()) == b"hi"


def test_ssl_cert_file_counts_when_it_is_set_after_the_first_connection(certificates, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with scripted_server(respond(ok(b"hi")), tls=certificates.tls) as host, pytest.raises(ssl.SSLError):
        _get(host, TLSSettings())
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    with scripted_server(respond(ok(b"hi")), tls=certificates.tls) as host:
        assert _get(host, TLSSettings()) == b"hi"


def test_a_certificate_of_another_authority_is_refused_unless_verification_is_off(certificates, tmp_path):
    other = make_certificates(tmp_path)
    server = scripted_server(respond(ok(b"hi")), tls=certificates.tls)
    with server as host, pytest.raises(ssl.SSLCertVerificationError):
        _get(host, TLSSettings(ca_files=(other.ca,)))
    with scripted_server(respond(ok(b"hi")), tls=certificates.tls) as host:
        assert _get(host, TLSSettings(verify=False)) == b"hi"


def test_a_tls_connection_is_used_again(certificates):
    def respond_twice(connection):
        for _ in range(2):
            read_request(connection)
            connection.sendall(ok(b"hi"))

    with scripted_server(respond_twice, tls=certificates.tls) as host:
        pool = Pool(Origin.of(f"https://{host}"), TLSSettings(ca_files=(certificates.ca,)))
        for _ in range(2):
            assert pool.exchange(Request("GET", f"https://{host}/", {})).read_all(100) == b"hi"
        assert len(pool._idle) == 1
        pool.close()


def test_a_context_is_made_once_for_equal_settings(certificates):
    assert tls_context(TLSSettings(ca_files=(certificates.ca,))) is tls_context(TLSSettings(True, (certificates.ca,)))


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_invalid_authority_file_is_named(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(InvalidSettings, match=f"cannot load the certificate authority {path}") as caught:
        tls_context(TLSSettings(ca_files=(str(path),)))
    assert str(path) in caught.value.hint


def test_an_invalid_client_certificate_is_named(certificates):
    with pytest.raises(InvalidSettings, match=f"client certificate {certificates.ca}"):
        tls_context(TLSSettings(client_certs=((certificates.ca, certificates.key),)))


def test_a_client_certificate_is_loaded(certificates):
    assert tls_context(TLSSettings(client_certs=(certificates.tls,)))


def test_a_bundle_of_the_distribution_is_loaded_if_python_finds_no_authorities(monkeypatch, certificates):
    nowhere = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda self: None)
    monkeypatch.setattr(tls, "_BUNDLES", ("/no/such/file", certificates.ca))
    assert tls_context(TLSSettings()).cert_store_stats()["x509_ca"] == 1


def _encrypted_key(certificates, tmp_path):
    key = serialization.load_pem_private_key(Path(certificates.key).read_bytes(), None)
    path = tmp_path / "client.key"
    algorithm = serialization.BestAvailableEncryption(b"passphrase")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, algorithm))
    return str(path)


def test_an_encrypted_client_key_is_an_error_and_openssl_does_not_ask_for_its_passphrase(certificates, tmp_path):
    key = _encrypted_key(certificates, tmp_path)
    with pytest.raises(InvalidSettings, match=f"the client key {key} is encrypted") as caught:
        tls_context(TLSSettings(client_certs=((certificates.server, key),)))
    assert "openssl pkey" in caught.value.hint


def test_a_client_key_of_another_certificate_is_named(certificates, tmp_path):
    other = make_certificates(tmp_path)
    with pytest.raises(InvalidSettings, match="the key belongs to another certificate") as caught:
        tls_context(TLSSettings(client_certs=((certificates.server, other.key),)))
    assert other.key in str(caught.value)


def test_a_client_key_that_is_missing_is_named(certificates):
    with pytest.raises(InvalidSettings, match=r"its key /absent\.key: No such file"):
        tls_context(TLSSettings(client_certs=((certificates.server, "/absent.key"),)))
