"""The API's refusals as errors of topcoat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topcoat.errors import RequestRefused
from topcoat.foreign_text import escaped, parse_json

_MAX_MESSAGE = 1000

_HINTS_BY_REASON = {
    "Unauthorized": "the login may have expired: log in again (check with `kubectl get pods`), or -cfg context=NAME",
    "AlreadyExists": "submit again under another name, or remove the old object",
    "Conflict": "somebody changed the object at the same time: run the command again",
    "Invalid": "`topcoat run --dryrun` prints the objects",
    "BadRequest": "`topcoat run --dryrun` prints the objects; check pod_overlay",
}
_HINTS_BY_TEXT = {
    "exceeded quota": "`kubectl describe quota -n {namespace}` shows what is used; ask for less, or wait",
    "failed quota": "the namespace's quota needs requests: --cpu and --memMB",
    "violates PodSecurity": "the namespace forbids such pods: choose another one with -cfg namespace=NAME",
    "failed calling webhook": "an add-on of the cluster does not respond: its administrator can say more",
    "is being terminated": "choose another namespace with -cfg namespace=NAME",
    "JobSet name is too long": "choose shorter names for the application and its roles (--name)",
    "must be no more than 63": "choose shorter names for the application and its roles (--name)",
}
_FORBIDDEN = "this login may not do that: -cfg namespace=NAME, -cfg context=NAME, or ask the cluster's administrator"
_NO_NAMESPACE = "`kubectl get namespaces` lists them; -cfg namespace=NAME"


def parse_status(body: bytes) -> Mapping[str, Any]:
    """Return the ``Status`` object of a refused request, or its text as one."""
    try:
        status = parse_json(body)
    except ValueError:
        status = None
    if isinstance(status, dict) and isinstance(status.get("message"), str):
        return status
    return {"message": body[:_MAX_MESSAGE].decode("utf-8", "replace").strip()}


def refusal(action: str, http_status: int, body: bytes, namespace: str | None) -> RequestRefused:
    """Return the error for a request that the API server refuses.

    Args:
        action: what was being done, such as "creating the Job train".
        http_status: of the response.
        body: of the response.
        namespace: where, for the hint.
    """
    status = parse_status(body)
    reason = str(status.get("reason") or "")
    if http_status == 401:
        reason = "Unauthorized"
    message = escaped(status["message"] or f"HTTP status {http_status}", _MAX_MESSAGE)
    hint = next((hint for text, hint in _HINTS_BY_TEXT.items() if text in message), None)
    if hint is None and http_status == 403 and "cannot" in message:
        hint = _FORBIDDEN
    if hint is None and message.startswith("namespaces ") and http_status == 404:
        hint = _NO_NAMESPACE
    hint = hint or _HINTS_BY_REASON.get(reason)
    return RequestRefused(
        f"{action}: {message}",
        hint=hint and hint.replace("{namespace}", namespace or "NAME"),
        status=http_status,
        reason=reason,
    )
