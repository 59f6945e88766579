"""Every exception that topcoat raises on purpose, as one tree.

::

    TopcoatError
    ├── UsageError                     exit code 2: the call itself is wrong
    │   ├── InvalidRunConfigException
    │   │   └── MissingRunOption
    │   ├── InvalidWorkspace
    │   ├── InvalidApp
    │   ├── InvalidMount
    │   ├── InvalidOverlay
    │   ├── UnknownResource
    │   ├── UnknownRole
    │   ├── UnknownScheduler
    │   ├── UnknownComponent
    │   ├── InvalidComponent
    │   ├── InvalidHandle
    │   ├── InvalidReference
    │   ├── InvalidConfigFile
    │   ├── TorchXInstalled
    │   └── MissingDependency
    ├── WorkspaceError
    │   ├── WorkspaceNotFound
    │   ├── InvalidIgnorePattern
    │   ├── InvalidDockerfile
    │   └── WorkspaceChanged
    ├── ImageError
    │   ├── ImageNotFound
    │   ├── NeedsBuilder
    │   ├── InvalidImage
    │   ├── PathConflict
    │   ├── NoSuchPlatform
    │   └── TagMoved
    ├── RegistryError
    │   ├── RegistryUnavailable
    │   ├── AuthenticationFailed
    │   └── CredentialError
    ├── DaemonError
    │   └── DaemonUnavailable
    ├── DestinationError
    │   └── JobDirConflict
    ├── StateError
    ├── OutputError
    └── SchedulerError
        ├── SchedulerUnavailable
        ├── RequestRefused
        ├── UnknownApp
        └── AppFailed

Every class has a kebab-case ``code`` (stable, for scripts) and an ``exit_code`` for the command line. Every instance
has a message and, if a fix is known, a ``hint``: what to type or change next.
"""

from __future__ import annotations

from typing import Any


class TopcoatError(Exception):
    """Root of all exceptions that topcoat raises on purpose."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(TopcoatError, ValueError):
    """The call is wrong: an invalid flag, option or argument. TorchX raises ``ValueError`` for most of these."""

    code = "usage"
    exit_code = 2


class InvalidRunConfigException(UsageError, TypeError):
    """A run option is missing, unknown, malformed or of the wrong type (TorchX's name).

    Also a ``TypeError``, which TorchX raises for some of these.

    Attributes:
        cfg_key: the invalid option; empty if it is not a single one.
    """

    code = "invalid-run-option"

    def __init__(self, invalid_reason: str, cfg_key: str = "", cfg: object = None, *, hint: str | None = None) -> None:
        """Take TorchX's three arguments; *cfg* is not printed, because it may hold secrets."""
        super().__init__(invalid_reason, hint=hint)
        self.cfg_key = cfg_key


class MissingRunOption(InvalidRunConfigException, KeyError):
    """A required run option is missing; for ``image_repo`` TorchX raises a ``KeyError``."""

    code = "missing-run-option"


class InvalidWorkspace(UsageError):
    """A workspace declaration is invalid."""

    code = "invalid-workspace"


class InvalidApp(UsageError):
    """An application or role is invalid: no scheduler could run it."""

    code = "invalid-app"


class InvalidMount(UsageError, KeyError):
    """A mount is not ``type=bind|volume|device,src=...,dst=...``."""

    code = "invalid-mount"


class InvalidOverlay(UsageError, ValueError, TypeError):
    """An overlay is malformed, or does not fit the request."""

    code = "invalid-overlay"


class UnknownResource(UsageError, KeyError):
    """No named resource has this name."""

    code = "unknown-resource"


class UnknownRole(UsageError, KeyError):
    """The application has no role of this name."""

    code = "unknown-role"


class UnknownScheduler(UsageError, KeyError):
    """No registered scheduler has this name. TorchX's code gives only the name, as *scheduler_backend*."""

    code = "unknown-scheduler"

    def __init__(self, message: str = "", *, scheduler_backend: str = "", hint: str | None = None) -> None:
        super().__init__(message or f"unknown scheduler {scheduler_backend!r}", hint=hint)


class UnknownComponent(UsageError):
    """No component, component file or function has this name."""

    code = "unknown-component"


class InvalidComponent(UsageError):
    """A component cannot be called: invalid signature, invalid arguments, or it raised."""

    code = "invalid-component"


class InvalidHandle(UsageError):
    """An application handle is not ``scheduler://session/app_id``. TorchX's code gives only the *app_handle*."""

    code = "invalid-handle"

    def __init__(self, message: str = "", *, app_handle: str = "", hint: str | None = None) -> None:
        super().__init__(message or f"invalid handle {app_handle!r}: expected scheduler://session/app_id", hint=hint)


class InvalidReference(UsageError):
    """An image name is not ``[registry/]repository[:tag][@digest]``."""

    code = "invalid-reference"


class InvalidConfigFile(UsageError):
    """A configuration file cannot be parsed."""

    code = "invalid-config-file"


class TorchXInstalled(UsageError):
    """TorchX is installed, so topcoat cannot be imported under its name."""

    code = "torchx-installed"


class MissingDependency(UsageError, ImportError):
    """An optional dependency is not installed."""

    code = "missing-dependency"


class WorkspaceError(TopcoatError):
    """The local code cannot be read."""

    code = "workspace"


class WorkspaceNotFound(WorkspaceError, FileNotFoundError):
    """A workspace directory or file does not exist."""

    code = "workspace-not-found"


class InvalidIgnorePattern(WorkspaceError, ValueError):
    """A pattern of an ignore file is malformed."""

    code = "invalid-ignore-pattern"


class InvalidDockerfile(WorkspaceError, ValueError):
    """A Dockerfile is malformed, or copies something that does not exist."""

    code = "invalid-dockerfile"


class WorkspaceChanged(WorkspaceError):
    """A file changed between the scan and the packing.

    Attributes:
        file: the tree that holds it and its path there; None if it is not known which file changed.
    """

    code = "workspace-changed"
    file: tuple[Any, str] | None = None


class ImageError(TopcoatError):
    """A container image cannot be used."""

    code = "image"


class ImageNotFound(ImageError):
    """The registry or engine does not have the image."""

    code = "image-not-found"


class NeedsBuilder(ImageError):
    """The Dockerfile needs a builder and none is available."""

    code = "needs-builder"


class InvalidImage(ImageError):
    """A manifest or config breaks the image specification."""

    code = "invalid-image"


class PathConflict(ImageError):
    """A path of the workspace cannot replace that of the image."""

    code = "path-conflict"


class NoSuchPlatform(ImageError):
    """The index has no image for the platform of the job."""

    code = "no-such-platform"


class TagMoved(ImageError):
    """The tag of an image refers to another image."""

    code = "tag-moved"


class RegistryError(TopcoatError):
    """A registry refused or failed a request.

    Attributes:
        status: HTTP status, 0 without a response.
        registry_code: the registry's own error code, such as ``MANIFEST_UNKNOWN``.
        request: method and URL, without query values that may hold a credential.
        temporary: whether the same request may succeed later.
    """

    code = "registry"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int = 0,
        registry_code: str = "",
        request: str = "",
        temporary: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.registry_code = registry_code
        self.request = request
        self.temporary = temporary


class RegistryUnavailable(RegistryError):
    """The connection to the registry failed or broke."""

    code = "registry-unavailable"


class AuthenticationFailed(RegistryError):
    """The registry rejects the credentials, or requires some."""

    code = "authentication-failed"


class CredentialError(RegistryError):
    """A credential store or helper failed."""

    code = "credentials"


class DaemonError(TopcoatError):
    """The container engine refused or failed a request."""

    code = "daemon"


class DaemonUnavailable(DaemonError):
    """No container engine can be reached."""

    code = "daemon-unavailable"


class DestinationError(TopcoatError):
    """The snapshot cannot be delivered to its destination."""

    code = "destination"


class JobDirConflict(DestinationError, FileExistsError):
    """The job directory already has other content."""

    code = "job-dir-conflict"


class StateError(TopcoatError):
    """The cache or state directory cannot be used."""

    code = "state"


class OutputError(TopcoatError):
    """The output cannot be written: the disk is full, or the terminal is closed."""

    code = "output"


class SchedulerError(TopcoatError):
    """A scheduler refused or failed a request."""

    code = "scheduler"


class SchedulerUnavailable(SchedulerError):
    """The scheduler's backend cannot be reached, or fails for now."""

    code = "scheduler-unavailable"


class RequestRefused(SchedulerError):
    """The scheduler's backend refuses a request.

    Attributes:
        status: HTTP status.
        reason: the backend's own code for it, such as Kubernetes' ``AlreadyExists``.
    """

    code = "request-refused"

    def __init__(self, message: str, *, hint: str | None = None, status: int = 0, reason: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class UnknownApp(SchedulerError):
    """The scheduler does not have the application. TorchX's code gives only the *app_handle*."""

    code = "unknown-app"

    def __init__(self, message: str = "", *, app_handle: str = "", hint: str | None = None) -> None:
        super().__init__(message or f"unknown application {app_handle}", hint=hint)


class AppFailed(SchedulerError):
    """The application ended without success.

    Attributes:
        status: the ``AppStatus``, if known.
    """

    code = "app-failed"

    def __init__(self, *args: Any, hint: str | None = None, status: Any = None) -> None:
        """Take the message, or as TorchX's ``AppStatusError`` the status and then the message."""
        if args and not isinstance(args[0], str):
            status, *args = args  # type: ignore[assignment]
        super().__init__(str(args[0]) if args else "the job did not succeed", hint=hint)
        self.status = status
