"""Clients of AWS services, and their errors in words.

boto3 finds region, profile and credentials; it assumes roles that the profile names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topcoat.errors import MissingDependency, SchedulerError, TopcoatError, UsageError
from topcoat.foreign_text import escaped

_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 20
_MAX_ATTEMPTS = 6

_LOG_IN = "aws sso login, aws configure, or export AWS_PROFILE=NAME"
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_REJECTED = frozenset(
    {
        *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "AuthFailure"),
        *("SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken"),
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded"}
)
# Exceptions of botocore for a login of IAM Identity Center or of the console that is missing or has expired.
_NOT_LOGGED_IN = frozenset(
    {
        *("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "SSOError"),
        *("LoginError", "LoginRefreshRequired", "LoginTokenLoadError", "LoginAuthorizationCodeError"),
    }
)


def aws_client(service: str, *, region: str = "", max_attempts: int = _MAX_ATTEMPTS) -> Any:
    """Return a boto3 client of *service*; a throttled or failed request is sent up to *max_attempts* times.

    Args:
        service: boto3's name of it.
        region: by default the one that boto3 is configured for.

    Raises:
        MissingDependency: boto3 is not installed.
        UsageError: boto3 refuses its configuration.
        botocore.exceptions.BotoCoreError: no region is set, or the profile does not exist (see `aws_errors`).
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise MissingDependency(
            "this needs the boto3 package, which is not installed", hint="pip install 'topcoat[aws]'"
        ) from error
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": max_attempts},
    )
    try:
        client: Any = boto3.session.Session().client(service, region_name=region or None, config=config)  # type: ignore[call-overload]
    except ValueError as error:
        raise UsageError(
            f"boto3 refuses its configuration: {_shown(error)}",
            hint="check the variables AWS_* and the files in ~/.aws",
        ) from error
    return client


@contextmanager
def aws_errors(action: str, error_class: type[TopcoatError] = SchedulerError) -> Iterator[None]:
    """Raise the errors of boto3 in a ``with`` block as *error_class*: what *action* failed, why, and what to do."""
    try:
        yield
    except TopcoatError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("botocore", "boto3"):
            why, hint = _explain(error)
        elif _comes_from_boto(error):
            # Its text may hold a part of a password.
            why = f"boto3 cannot use an address, or what responds there: {type(error).__name__}"
            hint = "check AWS_ENDPOINT_URL, the variables of the proxy (HTTPS_PROXY), and the network"
        elif isinstance(error, KeyError):
            # boto3 reads a text that is not JSON as an empty response.
            why = f"the response has no {error}, so it does not come from AWS"
            hint = "check the network: a proxy or a login page may respond in place of AWS"
        else:
            raise
        raise error_class(f"{action}: {why}", hint=hint) from error


def _comes_from_boto(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith("botocore."):
            return True
        trace = trace.tb_next
    return False


def error_code(error: Exception) -> str:
    """Return the error code that the service sent, empty if *error* is not a response of it."""
    return str(_response(error).get("Code") or "")


def is_throttled(error: Exception) -> bool:
    """Tell whether the service refused the request because of too many requests."""
    return error_code(error) in _THROTTLED


def is_denied(error: Exception) -> bool:
    """Tell whether the caller lacks the permission for the request."""
    return error_code(error) in _DENIED


def is_missing(error: Exception) -> bool:
    """Tell whether the service does not have what the request names."""
    return "NotFound" in error_code(error)


def error_text(error: Exception) -> str:
    """Return the message that the service sent, empty if *error* is not a response of it."""
    return str(_response(error).get("Message") or _response(error).get("message") or "")


def _response(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    return details if isinstance(details, dict) else {}


def _explain(error: Exception) -> tuple[str, str | None]:
    """Return what an error of boto3 means, and a hint."""
    from botocore import exceptions

    code, name = error_code(error), type(error).__name__
    if isinstance(error, exceptions.NoRegionError):
        return "no AWS region is set", "export AWS_DEFAULT_REGION=us-east-1, or aws configure set region us-east-1"
    if isinstance(error, exceptions.ProfileNotFound):
        return _shown(error), "aws configure list-profiles shows the profiles"
    if isinstance(error, exceptions.PartialCredentialsError):
        return f"the AWS credentials are incomplete: {_shown(error)}", _LOG_IN
    if isinstance(error, exceptions.NoCredentialsError):
        return "no AWS credentials found", _LOG_IN
    if code in _EXPIRED or name in _NOT_LOGGED_IN:
        return "the AWS login is missing or has expired", "aws sso login, aws login, or renew the session token"
    if code in _REJECTED:
        return "AWS does not accept the credentials", "aws sts get-caller-identity shows whose they are"
    if is_denied(error):
        return f"access denied: {escaped(error_text(error))}", "ask for this permission, or use another AWS_PROFILE"
    if is_throttled(error):
        return "AWS received too many requests, and refused this one at every try", "try again in a minute"
    if isinstance(error, exceptions.ClientError):
        return escaped(error_text(error) or code or str(error)), None
    if isinstance(error, exceptions.ParamValidationError):
        return escaped(str(error).partition("\n")[2] or str(error)), None
    if type(error) is exceptions.HTTPClientError:
        # Its text may hold a part of a proxy's password.
        cause = type(error.kwargs.get("error")).__name__
        return f"cannot connect to AWS: {cause}", "check AWS_ENDPOINT_URL and the variables of the proxy (HTTPS_PROXY)"
    if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError)):
        return f"cannot connect to AWS: {_shown(error)}", "check the network, the proxy and the region"
    return _shown(error), _LOG_IN if "redential" in name else None


def _shown(error: Exception) -> str:
    """Return the text of an error without the logins of URLs."""
    return escaped(re.sub(r"//[^/@\s]*@", "//***@", str(error)))
