"""Image names: ``[registry/]repository[:tag][@digest]``, with Docker's defaults.

The grammar is that of the distribution project's ``reference`` package. The defaults: a first component without a dot,
a colon or an upper-case letter, other than ``localhost``, is part of a Docker Hub name, and a Hub name of one component
is under ``library/``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from topcoat.errors import InvalidReference
from topcoat.oci.digest import is_digest

HUB = "docker.io"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_CHARACTERS = 255


class Reference(NamedTuple):
    """An image name with all defaults filled in.

    Attributes:
        registry: host, with its port if any; ``docker.io`` for Docker Hub.
        repository: the path within the registry.
        tag: empty if the name has only a digest.
        digest: empty if the name has only a tag.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read an image name as Docker does, or raise ``InvalidReference``; the default tag is ``latest``."""
        if not text or text != text.strip():
            raise _invalid(text, "it is empty" if not text.strip() else "remove the white space around it")
        if "://" in text:
            raise _invalid(text, "an image name has no scheme", f"write {text.partition('://')[2]}")
        name, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise _invalid(text, f"invalid digest {digest!r}: expected sha256: and 64 lower-case hex digits")
        # A colon before the last slash belongs to the port.
        path, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            path, colon, tag = name, "", ""
        if colon and not _TAG.fullmatch(tag):
            raise _invalid(text, f"invalid tag {tag!r}: expected at most 128 letters, digits, '_', '.' and '-'")
        registry, repository = _split(text, path)
        _check_repository(text, repository)
        return cls(registry, repository, tag or ("" if digest else "latest"), digest)

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def identifier(self) -> str:
        """The digest if the name has one, else the tag."""
        return self.digest or self.tag

    def with_tag(self, tag: str) -> Reference:
        """Return the same repository with *tag* and without the digest, which belongs to another image.

        Raises:
            InvalidReference: *tag* breaks the grammar.
        """
        if not _TAG.fullmatch(tag):
            raise _invalid(tag, "a tag has at most 128 letters, digits, '_', '.' and '-'")
        return self._replace(tag=tag, digest="")


def _is_host(component: str) -> bool:
    return bool(set(component) & set(".:[")) or component == "localhost" or component != component.lower()


def _split(text: str, path: str) -> tuple[str, str]:
    first, slash, rest = path.partition("/")
    if not slash or not _is_host(first):
        registry, repository = HUB, path
    else:
        registry, repository = first, rest
        if not _REGISTRY.fullmatch(registry):
            raise _invalid(text, f"invalid registry {registry!r}: expected a host name with an optional port")
        port = registry.rpartition("]")[2].rpartition(":")[2]
        if port.isdigit() and ":" in registry and (len(port) > 20 or int(port) > 65535):
            raise _invalid(text, f"invalid port {port}: the maximum is 65535")
    if registry == "index.docker.io":
        registry = HUB
    if registry == HUB and "/" not in repository:
        if _IMAGE_ID.fullmatch(repository):
            raise _invalid(text, "64 hex digits are an image id, not a name")
        repository = f"library/{repository}"
    return registry, repository


def _check_repository(text: str, repository: str) -> None:
    if len(repository) > _MAX_CHARACTERS:
        raise _invalid(text, f"the repository has more than {_MAX_CHARACTERS} characters")
    for component in repository.split("/"):
        if _COMPONENT.fullmatch(component):
            continue
        if not component:
            raise _invalid(text, "a component of the repository is empty")
        if component != component.lower():
            hint = f"write {text.replace(repository, repository.lower())}"
            raise _invalid(text, "the repository must be lower-case", hint)
        expected = "expected lower-case letters, digits, and single '.', '_', '-' between"
        raise _invalid(text, f"invalid component {component!r}: {expected}")


def _invalid(text: str, why: str, hint: str = "") -> InvalidReference:
    return InvalidReference(
        f"invalid image name {text!r:.300}: {why}",
        hint=hint or "write it as [registry/]repository[:tag][@digest], such as ghcr.io/org/app:v1",
    )
