"""Instructions carried out one after the other, on one image."""

from __future__ import annotations

import re
from collections.abc import Mapping

from topcoat.dockerfile.check import Flags
from topcoat.dockerfile.context import Context
from topcoat.dockerfile.copying import CopyOptions, Destination, copy
from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.image_filesystem import ImageFilesystem
from topcoat.dockerfile.parse import Instruction
from topcoat.dockerfile.paths import inside, resolve
from topcoat.dockerfile.scope import declare
from topcoat.dockerfile.settings import Settings
from topcoat.errors import NeedsBuilder

_ELSEWHERE = re.compile(r"(?:https?|git|ssh)://|[\w.-]+@[\w.-]+:")
_EXPANDED = ("ADD", "COPY", "ENV", "LABEL", "USER", "VOLUME", "WORKDIR")


class StageExecutor:
    """The image while instructions are carried out."""

    def __init__(
        self,
        escape: str,
        context: Context,
        overlay: ImageFilesystem,
        settings: Settings,
        outside: Mapping[str, str],
        given: Mapping[str, str],
    ) -> None:
        self._escape = escape
        self._context = context
        self._overlay = overlay
        self._settings = settings
        self._outside = outside
        self._given = given

    def carry_out(self, instruction: Instruction, flags: Flags) -> None:
        """Carry out one instruction.

        Raises:
            ValueError: it asks for what is not there.
            NeedsBuilder: only a builder can do it.
        """
        name, words = instruction.name, instruction.words
        if name == "ARG":
            declare(instruction, self._settings.scope, self._outside, self._given, self._escape)
        elif name in ("ADD", "COPY"):
            self._copy(instruction, flags)
        elif name == "WORKDIR":
            self._change_directory(self._expand(words[0]))
        elif name == "EXPOSE":
            # A variable may hold several ports.
            ports = " ".join([self._expand(word) for word in sorted(words)])
            self._settings.apply(instruction, tuple(ports.split()))
        elif name in _EXPANDED:
            self._settings.apply(instruction, tuple([self._expand(word) for word in words]))
        else:
            self._settings.apply(instruction, words)

    def _expand(self, word: str) -> str:
        return expand(word, self._settings.scope, self._escape).text

    def _change_directory(self, path: str) -> None:
        self._settings.change_directory(path)
        directory, user = inside(self._settings.working_dir), self._settings.user
        try:
            owner = _owner(user) if user else None
        except NeedsBuilder:
            node = self._overlay.find(resolve(self._overlay, directory))
            if node is None or node.kind == "unknown":
                raise
            owner = None
        self._overlay.make_directories(directory, owner=owner)

    def _copy(self, instruction: Instruction, flags: Flags) -> None:
        chown, chmod = (self._expand("".join(flags.get(flag, ()))) for flag in ("chown", "chmod"))
        *sources, last = [self._expand(word) for word in instruction.words]
        destination = Destination.parse(last, self._settings.working_dir)
        adds = instruction.name == "ADD"
        if flags.get("checksum", ("",))[0]:
            if len(sources) != 1:
                raise ValueError("checksum can't be specified for multiple sources")
            if not _ELSEWHERE.match(sources[0]):
                raise ValueError("checksum requires HTTP(S) or Git sources")
        options = CopyOptions(
            owner=_owner(chown) if chown else None,
            mode=_mode(chmod) if chmod else None,
            unpack=adds and flags.get("unpack") != ("false",),
        )
        for source in sources:
            if _ELSEWHERE.match(source):
                if not adds:
                    raise ValueError(f"source can't be a URL for COPY: {source}")
                raise NeedsBuilder(f"ADD fetches {source}")
        copy(self._context, self._overlay, sources, destination, options)


def _owner(text: str) -> tuple[int, int]:
    """Read ``uid[:gid]``; a lone uid stands for both, and ``root`` is 0.

    Raises:
        NeedsBuilder: a name, which only the image's user database can tell.
    """
    user, _, group = text.partition(":")
    numbers = []
    for name in (user or "0", group or user or "0"):
        if name != "root" and not (name.isascii() and name.isdecimal() and int(name) < 1 << 31):
            raise NeedsBuilder(f"the user or group {name} has a number that only the image knows")
        numbers.append(0 if name == "root" else int(name))
    return numbers[0], numbers[1]


def _mode(text: str) -> int:
    """Read an octal mode.

    Raises:
        ValueError: a number that is not an octal one up to 07777.
        NeedsBuilder: a symbolic mode.
    """
    if not text[:1].isdecimal():
        raise NeedsBuilder(f"--chmod={text} is not an octal number")
    if not re.fullmatch("0*[0-7]{1,4}", text):
        raise ValueError(f"invalid --chmod {text!r}: expected an octal number up to 07777")
    return int(text, 8)
