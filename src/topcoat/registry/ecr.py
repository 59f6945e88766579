"""Amazon ECR: a login from AWS, for which no ``docker login`` is needed, and repositories that AWS creates."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from typing import Any, NamedTuple

from topcoat.aws import aws_client, aws_errors, error_code
from topcoat.errors import CredentialError, MissingDependency, RegistryError, TopcoatError
from topcoat.foreign_text import parse_json
from topcoat.notices import notice
from topcoat.oci.reference import Reference
from topcoat.registry.login_files import Credential

PUBLIC_HOST = "public.ecr.aws"
_PUBLIC_REGION = "us-east-1"
_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|on\.aws|on\.amazonwebservices\.com\.cn)"
)
# A login is renewed before it expires: a push may be long.
_MARGIN_S = 600
_MISSING = "NAME_UNKNOWN"

_lock = threading.Lock()
_logins: dict[str, _Login] = {}


class _Login(NamedTuple):
    credential: Credential | None
    expires: float


def login(registry: str, stored: Credential | None) -> Credential | None:
    """Return the login of *registry* (``host[:port]``): the *stored* one unless it has expired, else one from AWS.

    Only hosts of ECR get a login from AWS; it is kept in memory until it expires.

    Raises:
        CredentialError: AWS gives none.
    """
    match = _HOST.fullmatch(registry)
    if match is None and registry != PUBLIC_HOST:
        return stored
    if stored is not None and not _has_expired(stored):
        return stored
    with _lock:
        known = _logins.get(registry)
        if known is None or known.expires < time.time():
            try:
                known = _private_login(registry, match["region"]) if match else _public_login()
            except MissingDependency:
                notice(f"a login of {registry} from AWS needs boto3: pip install 'topcoat[aws]'")
                return stored
            _logins[registry] = known
        return known.credential


def _private_login(registry: str, region: str) -> _Login:
    with aws_errors(f"getting a login of {registry} from AWS", CredentialError):
        return _parse_login(aws_client("ecr", region=region).get_authorization_token())


def _public_login() -> _Login:
    """Return a login of the public registry; without AWS credentials none: it serves everybody, with a lower limit."""
    try:
        with aws_errors("getting a login of ECR Public", CredentialError):
            return _parse_login(aws_client("ecr-public", region=_PUBLIC_REGION).get_authorization_token())
    except CredentialError:
        return _Login(None, float("inf"))


def _parse_login(response: Any) -> _Login:
    data = response["authorizationData"]
    try:
        # The private service sends a list of one.
        login = data[0] if isinstance(data, list) else data
        username, _, password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
        return _Login(Credential(username, password), login["expiresAt"].timestamp() - _MARGIN_S)
    except (LookupError, ValueError):
        raise CredentialError("AWS sent a login that cannot be read", hint="log in with docker login") from None


def _has_expired(credential: Credential) -> bool:
    """Tell whether a password of ECR, which is a JSON object in base64, has expired; others never do."""
    try:
        token = parse_json(binascii.a2b_base64(credential.password))
        return float(token["expiration"]) < time.time()
    except (ValueError, TypeError, KeyError):
        return False


def create_repository(target: Reference, error: TopcoatError) -> None:
    """Create the repository of *target*, if *error* says that ECR does not have it.

    Raises:
        TopcoatError: *error*, if it says something else.
        RegistryError: the repository cannot be created.
    """
    match = _HOST.fullmatch(target.registry)
    code = error.registry_code if isinstance(error, RegistryError) else ""
    # Engines and tools that push report it in words.
    if match is None or not (code == _MISSING or "name unknown" in str(error).lower()):
        raise error
    with aws_errors(f"creating the repository {target.name}", RegistryError):
        try:
            client = aws_client("ecr", region=match["region"])
            client.create_repository(registryId=match["account"], repositoryName=target.repository)
        except Exception as refused:
            # Somebody else has created it meanwhile.
            if error_code(refused) != "RepositoryAlreadyExistsException":
                raise
    notice(f"created the repository {target.name}")
