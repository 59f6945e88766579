"""Change an image's settings: the ``config`` object, key by key as BuildKit writes it."""

from __future__ import annotations

from typing import Any

from topcoat.dockerfile.expand import Scope
from topcoat.dockerfile.parse import Instruction
from topcoat.errors import NeedsBuilder
from topcoat.oci.config import DEFAULT_PATH, ImageConfig
from topcoat.scan.ignore import clean

_DEFAULT_SHELL = ["/bin/sh", "-c"]
_MAX_PORT = 65_535


class Settings:
    """The settings of an image while instructions change them.

    Attributes:
        scope: variables that the instructions see: those of the image, and build arguments.
        author: that ``MAINTAINER`` names; None without one.
    """

    def __init__(self, config: ImageConfig) -> None:
        self._before = dict(config.settings)
        self._now: dict[str, Any] = dict(config.settings)
        self.author: str | None = None
        self.scope = Scope(config.env)
        self._has_command = False
        if "PATH" not in self.scope:
            self.set_variable("PATH", DEFAULT_PATH)
        if config.working_dir != "/":
            self.change_directory(str(self._now["WorkingDir"]))

    @property
    def working_dir(self) -> str:
        """The directory that relative paths start from."""
        return str(self._now.get("WorkingDir") or "/")

    @property
    def user(self) -> str:
        """The user of containers; empty for root."""
        return str(self._now.get("User") or "")

    def changes(self) -> dict[str, Any]:
        """Return the keys that have changed, with None for one that is removed or empty."""
        after = {key: self._now.get(key) or None for key in {**self._before, **self._now}}
        return {key: now for key, now in after.items() if now != (self._before.get(key) or None)}

    def set_variable(self, name: str, value: str) -> None:
        """Set an environment variable; a variable that exists keeps its place."""
        pairs = [str(pair) for pair in self._now.get("Env") or ()]
        at = next((at for at, pair in enumerate(pairs) if pair.partition("=")[0] == name), len(pairs))
        self._now["Env"] = [*pairs[:at], f"{name}={value}", *pairs[at + 1 :]]
        self.scope[name] = value

    def change_directory(self, path: str) -> None:
        """Set the working directory; a relative one starts from the one before."""
        if not path.startswith("/"):
            path = clean(f"/{self.working_dir.strip('/')}/{path}")
        self._now["WorkingDir"] = path

    def apply(self, instruction: Instruction, words: tuple[str, ...]) -> None:
        """Carry out an instruction that changes settings alone; *words* are its words, variables filled in.

        Raises:
            ValueError: an invalid value.
            NeedsBuilder: a range of ports, or a port of the host.
        """
        name = instruction.name
        pairs = list(zip(words[::2], words[1::2], strict=False))
        if name == "ENV":
            for key, value in pairs:
                self.set_variable(key, value)
        elif name == "LABEL":
            self._now["Labels"] = {**(self._now.get("Labels") or {}), **dict(pairs)}
        elif name == "CMD":
            self._now["Cmd"] = self._command(instruction)
            self._now["ArgsEscaped"] = True
            self._has_command = True
        elif name == "ENTRYPOINT":
            self._now["Entrypoint"] = self._command(instruction)
            if not self._has_command:
                self._now["Cmd"] = None
        elif name == "EXPOSE":
            self._now["ExposedPorts"] = {**(self._now.get("ExposedPorts") or {}), **{_port(word): {} for word in words}}
        elif name == "MAINTAINER":
            self.author = words[0]
        elif name == "USER":
            self._now["User"] = words[0]
        elif name == "VOLUME":
            self._now["Volumes"] = {**(self._now.get("Volumes") or {}), **{_volume(word): {} for word in words}}
        else:
            raise ValueError(f"{name} changes no settings")

    def _command(self, instruction: Instruction) -> list[str]:
        words = list(instruction.words)
        return words if instruction.is_exec_form else [*(self._now.get("Shell") or _DEFAULT_SHELL), " ".join(words)]


def _volume(word: str) -> str:
    if not word:
        raise ValueError("VOLUME specified can not be an empty string")
    return word


def _port(text: str) -> str:
    """Read ``port[/protocol]``."""
    if "-" in text or ":" in text:
        raise NeedsBuilder(f"EXPOSE of a range or a port of the host: {text}")
    port, _, protocol = text.lower().partition("/")
    if not (port.isascii() and port.isdecimal() and int(port) <= _MAX_PORT):
        raise ValueError(f"invalid port {text!r}")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise ValueError(f"invalid protocol of port {text!r}: choose tcp, udp or sctp")
    return f"{int(port)}/{protocol or 'tcp'}"
