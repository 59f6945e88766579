"""TLS contexts, made once for equal settings: loading the system's certificate authorities takes 25 ms."""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from topcoat.http.errors import InvalidSettings

if TYPE_CHECKING:
    import ssl

# Where distributions keep their authorities, for a Python that was built with another path.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# OpenSSL reads these when it loads the system's authorities; a program may set them between two contexts.
_SYSTEM_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
    "NO_START_LINE": "not in PEM format",
    "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no certificate",
}
_lock = threading.Lock()


class TLSSettings(NamedTuple):
    """How a server is authenticated, and how this client is.

    Attributes:
        verify: whether the server's certificate must be valid.
        ca_files: certificate authorities in addition to the system's.
        client_certs: pairs of certificate file and key file.
    """

    verify: bool = True
    ca_files: tuple[str, ...] = ()
    client_certs: tuple[tuple[str, str], ...] = ()


def tls_context(settings: TLSSettings) -> ssl.SSLContext:
    """Return the TLS context for *settings*; the system's authorities are those of ``SSL_CERT_FILE`` if it is set.

    Raises:
        InvalidSettings: a certificate file cannot be loaded.
    """
    with _lock:
        return _context(settings, *map(os.environ.get, _SYSTEM_AUTHORITIES))


@functools.cache
def _context(settings: TLSSettings, *_system_authorities: str | None) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.verify:
        context.load_default_certs()
        paths = ssl.get_default_verify_paths()
        if not (paths.cafile or paths.capath or context.cert_store_stats()["x509_ca"]):
            bundle = next(filter(os.path.exists, _BUNDLES), None)
            if bundle:
                context.load_verify_locations(bundle)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    path, files, kind = "", "", "certificate authority"
    try:
        for path in settings.ca_files if settings.verify else ():
            context.load_verify_locations(path)
        kind = "client certificate"
        for path, key in settings.client_certs:
            files = path if key == path else f"{path} and its key {key}"
            context.load_cert_chain(path, key, password=functools.partial(_refuse_password, key))
    except (OSError, ValueError) as error:
        # An ssl.SSLError is an OSError whose reason says what is wrong with the file's content.
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        message = f"cannot load the {kind} {files or path}: {_REASONS.get(str(why), why)}"
        raise InvalidSettings(message, f"check that you can read {files or path}, in PEM format") from None
    return context


def _refuse_password(key: str) -> str:
    # Without this, OpenSSL asks on the terminal, and ^C does not end it.
    raise InvalidSettings(
        f"the client key {key} is encrypted, and topcoat cannot ask for its passphrase",
        f"store it without one, readable by you alone: openssl pkey -in {key} -out NEW.key",
    )
