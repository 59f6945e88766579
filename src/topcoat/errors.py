"""Every exception that topcoat raises on purpose, as one tree.

::

    TopcoatError
    ├── UsageError                     exit code 2: the call itself is wrong
    │   ├── InvalidRunConfigException
    │   ├── InvalidWorkspace
    │   ├── InvalidApp
    │   ├── InvalidMount
    │   ├── UnknownResource
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
    │   └── NoSuchPlatform
    ├── RegistryError
    │   ├── RegistryUnavailable
    │   ├── AuthenticationFailed
    │   └── CredentialError
    ├── DaemonError
    │   └── DaemonUnavailable
    ├── DestinationError
    │   └── JobDirConflict
    ├── StateError
    └── SchedulerError
        ├── UnknownApp
        └── AppFailed

Every class has a kebab-case ``code`` (stable, for scripts), an ``exit_code`` for the command line, and
every instance a message and, where a fix is known, a ``hint``: what to type or change next.
"""

from __future__ import annotations

from typing import Any


class TopcoatError(Exception):
    """Root of everything topcoat raises on purpose."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(TopcoatError):
    """The call is wrong: a flag, an option or an argument that cannot be used as given."""

    code = "usage"
    exit_code = 2


class InvalidRunConfigException(UsageError, ValueError, TypeError):
    """A run option is missing, unknown, malformed or of the wrong type (TorchX's name).

    Also a ``ValueError`` and a ``TypeError``, which TorchX raises for some of these.

    Attributes:
        cfg_key: the option at fault, empty where no single one is.
    """

    code = "invalid-run-option"

    def __init__(self, message: str, cfg_key: str = "", cfg: object = None, *, hint: str | None = None) -> None:
        """Take TorchX's three arguments; *cfg* is not printed, for it may hold secrets."""
        super().__init__(message, hint=hint)
        self.cfg_key = cfg_key


class InvalidWorkspace(UsageError, ValueError):
    """A workspace declaration that cannot be understood."""

    code = "invalid-workspace"


class InvalidApp(UsageError, ValueError):
    """An application or role that no scheduler could run as declared."""

    code = "invalid-app"


class InvalidMount(UsageError, ValueError, KeyError):
    """A mount that is not ``type=bind|volume|device,src=...,dst=...``."""

    code = "invalid-mount"


class UnknownResource(UsageError, KeyError):
    """No named resource of that name."""

    code = "unknown-resource"


class UnknownScheduler(UsageError, KeyError):
    """No scheduler of that name is registered."""

    code = "unknown-scheduler"


class UnknownComponent(UsageError):
    """No component of that name, or no such component file or function."""

    code = "unknown-component"


class InvalidComponent(UsageError):
    """A component that cannot be called: bad signature, bad arguments, or it raised."""

    code = "invalid-component"


class InvalidHandle(UsageError, ValueError):
    """An application handle that is not ``scheduler://session/app_id``."""

    code = "invalid-handle"


class InvalidReference(UsageError, ValueError):
    """An image name that is not ``[registry/]repository[:tag][@digest]``."""

    code = "invalid-reference"


class InvalidConfigFile(UsageError):
    """A configuration file that cannot be parsed."""

    code = "invalid-config-file"


class TorchXInstalled(UsageError):
    """The real TorchX is installed where topcoat was asked to take its name."""

    code = "torchx-installed"


class MissingDependency(UsageError, ImportError):
    """An optional dependency is not installed."""

    code = "missing-dependency"


class WorkspaceError(TopcoatError):
    """The local code cannot be read as asked."""

    code = "workspace"


class WorkspaceNotFound(WorkspaceError, FileNotFoundError):
    """A workspace directory or file does not exist."""

    code = "workspace-not-found"


class InvalidIgnorePattern(WorkspaceError, ValueError):
    """A pattern of an ignore file is malformed."""

    code = "invalid-ignore-pattern"


class InvalidDockerfile(WorkspaceError, ValueError):
    """A Dockerfile that cannot be understood, or that asks for what is not there."""

    code = "invalid-dockerfile"


class WorkspaceChanged(WorkspaceError):
    """A file changed between the scan and the moment it was packed."""

    code = "workspace-changed"


class ImageError(TopcoatError):
    """A container image cannot be used as asked."""

    code = "image"


class ImageNotFound(ImageError):
    """The registry or daemon has no such image."""

    code = "image-not-found"


class NeedsBuilder(ImageError):
    """The Dockerfile needs a builder and none is available."""

    code = "needs-builder"


class InvalidImage(ImageError):
    """A manifest or config that breaks the image specification."""

    code = "invalid-image"


class PathConflict(ImageError):
    """The workspace has something that cannot take the place of what the image has there."""

    code = "path-conflict"


class NoSuchPlatform(ImageError):
    """An index without the platform that the job needs."""

    code = "no-such-platform"


class RegistryError(TopcoatError):
    """A registry refused or failed a request.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        registry_code: the registry's own error code, such as ``MANIFEST_UNKNOWN``.
        request: method and URL, without query values that could hold a credential.
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
    """No connection to the registry, or none that lasted."""

    code = "registry-unavailable"


class AuthenticationFailed(RegistryError):
    """The registry does not accept the credentials, or needs some."""

    code = "authentication-failed"


class CredentialError(RegistryError):
    """A credential store or helper failed."""

    code = "credentials"


class DaemonError(TopcoatError):
    """The container engine refused or failed a request."""

    code = "daemon"


class DaemonUnavailable(DaemonError):
    """No container engine answers."""

    code = "daemon-unavailable"


class DestinationError(TopcoatError):
    """The snapshot cannot be put where it was asked to go."""

    code = "destination"


class JobDirConflict(DestinationError, FileExistsError):
    """The job directory already holds something else."""

    code = "job-dir-conflict"


class StateError(TopcoatError):
    """The cache or state directory cannot be used."""

    code = "state"


class SchedulerError(TopcoatError):
    """A scheduler refused or failed a request."""

    code = "scheduler"


class UnknownApp(SchedulerError):
    """The scheduler knows no such application."""

    code = "unknown-app"


class AppFailed(SchedulerError):
    """The application ended without success.

    Attributes:
        status: the ``AppStatus`` that says so, where one is known.
    """

    code = "app-failed"

    def __init__(self, message: str, *, hint: str | None = None, status: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
