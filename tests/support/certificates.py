"""Certificates for servers on loopback; a conftest.py that imports `certificates` has them as a fixture."""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificates(NamedTuple):
    """PEM files: the certificate of the authority, the certificate of the server, and the server's key."""

    ca: str
    server: str
    key: str

    @property
    def tls(self) -> tuple[str, str]:
        """The pair that a server needs."""
        return self.server, self.key


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Make a certificate authority, and a certificate for loopback that it signed."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def make_certificates(directory: Path, *hosts: str) -> Certificates:
    """Make an authority and a certificate for 127.0.0.1, localhost and *hosts*."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _name("test authority")
    ca = _sign(authority, authority, authority_key, authority_key, x509.BasicConstraints(ca=True, path_length=None))
    names = [*map(x509.DNSName, ("localhost", *hosts)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = _sign(_name("server"), authority, server_key, authority_key, x509.SubjectAlternativeName(names))
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = Certificates(*(str(directory / name) for name in ("ca.crt", "server.crt", "server.key")))
    for path, data in zip(made, (_pem(ca), _pem(server), key), strict=True):
        Path(path).write_bytes(data)
    return made


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _sign(subject, issuer, key, signer, extension):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    )
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
