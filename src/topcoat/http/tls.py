"""TLS contexts, made once for every set of settings: reading the system's authorities takes 25 ms."""

from __future__ import annotations

import os
import ssl
import threading

from topcoat.errors import RegistryUnavailable
from topcoat.registry.hosts import HostConfig

# Where distributions keep their authorities, for a Python that was built to look elsewhere.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_contexts: dict[HostConfig, ssl.SSLContext] = {}
_lock = threading.Lock()


def context(host: HostConfig) -> ssl.SSLContext:
    """Return the TLS context for *host*: the system's authorities (``SSL_CERT_FILE`` where set) and the host's own.

    Raises:
        RegistryUnavailable: a certificate file cannot be read.
    """
    key = host._replace(schemes=())
    with _lock:
        if key not in _contexts:
            _contexts[key] = _make(key)
        return _contexts[key]


def _make(host: HostConfig) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if host.verify:
        _load_system(made)
        for path in host.ca_files:
            try:
                made.load_verify_locations(path)
            except OSError as error:
                raise _unusable("certificate authority", path, error) from None
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    for certificate, key in host.client_certs:
        try:
            made.load_cert_chain(certificate, key)
        except OSError as error:
            raise _unusable("client certificate", certificate, error) from None
    return made


def _load_system(made: ssl.SSLContext) -> None:
    made.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath or made.cert_store_stats()["x509_ca"]:
        return
    for bundle in _BUNDLES:
        if os.path.exists(bundle):
            made.load_verify_locations(bundle)
            return


def _unusable(what: str, path: str, error: OSError) -> RegistryUnavailable:
    # ssl.SSLError is an OSError too, and says what is wrong with the file's content.
    why = getattr(error, "reason", None) or error.strerror or str(error)
    return RegistryUnavailable(
        f"the {what} {path} cannot be used: {why}", hint=f"check that {path} is a PEM file that you can read"
    )
