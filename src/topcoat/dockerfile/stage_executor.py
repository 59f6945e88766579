"""Carry out the instructions of a stage, one after the other, on one image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from topcoat.dockerfile.context import Context
from topcoat.dockerfile.copying import CopyOptions, Destination, copy
from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.image_filesystem import ImageFilesystem
from topcoat.dockerfile.parse import Instruction
from topcoat.dockerfile.paths import inside, resolve
from topcoat.dockerfile.scope import declare
from topcoat.dockerfile.settings import Settings
from topcoat.errors import NeedsBuilder

# A URL, a git repository or a host's path of ssh.
_REMOTE = re.compile(r"(?:https?|git|ssh)://|[\w.-]+@[\w.-]+:")
_EXPANDED = ("ENV", "LABEL", "USER", "VOLUME")
_FOR_A_BUILDER = {
    "HEALTHCHECK": "is for services",
    "ONBUILD": "is for images that others build on",
    "RUN": "runs a command in the image",
    "SHELL": "is for commands that run in the image",
    "STOPSIGNAL": "is for services",
}
_FLAGS_FOR_A_BUILDER = {
    "checksum": "is for files that are fetched",
    "exclude": "leaves files out by patterns",
    "from": "copies from another image",
    "link": "makes a layer of its own",
    "parents": "keeps the directories of its sources",
    "unpack": "unpacks archives",
}


def check_supported(instruction: Instruction) -> None:
    """Raise `NeedsBuilder` if *instruction* needs one, as far as that is known before anything is looked up."""
    name = instruction.name
    if name in _FOR_A_BUILDER:
        raise NeedsBuilder(f"{name} {_FOR_A_BUILDER[name]}")
    if instruction.has_here_document:
        raise NeedsBuilder(f"{name} takes a file from a here-document")
    for flag in instruction.flags:
        if flag in _FLAGS_FOR_A_BUILDER:
            raise NeedsBuilder(f"{name} --{flag} {_FLAGS_FOR_A_BUILDER[flag]}")


class StageExecutor(NamedTuple):
    """An image that instructions change."""

    escape: str
    context: Context
    filesystem: ImageFilesystem
    settings: Settings
    global_args: Mapping[str, str]
    args: Mapping[str, str]

    def carry_out(self, instruction: Instruction) -> None:
        """Carry out one instruction.

        Raises:
            ValueError: an invalid value, or a source that does not exist.
            NeedsBuilder: only a builder can do it.
        """
        name, words = instruction.name, instruction.words
        if name == "ARG":
            declare(instruction, self.settings.scope, self.global_args, self.args, self.escape)
        elif name in ("ADD", "COPY"):
            self._copy(instruction)
        elif name == "WORKDIR":
            self._change_directory(self._expand(words[0]))
        elif name == "EXPOSE":
            # A variable may hold several ports.
            ports = " ".join([self._expand(word) for word in sorted(words)])
            self.settings.apply(instruction, tuple(ports.split()))
        elif name in _EXPANDED:
            self.settings.apply(instruction, tuple([self._expand(word) for word in words]))
        else:
            self.settings.apply(instruction, words)

    def _expand(self, word: str) -> str:
        return expand(word, self.settings.scope, self.escape).text

    def _change_directory(self, path: str) -> None:
        self.settings.change_directory(path)
        directory, user = inside(self.settings.working_dir), self.settings.user
        try:
            owner = _owner(user) if user else None
        except NeedsBuilder:
            node = self.filesystem.find(resolve(self.filesystem, directory))
            if node is None or node.kind == "unknown":
                raise
            owner = None
        self.filesystem.make_directories(directory, owner=owner)

    def _copy(self, instruction: Instruction) -> None:
        flags = instruction.flags
        chown, chmod = (self._expand("".join(flags.get(flag, ()))) for flag in ("chown", "chmod"))
        *sources, last = [self._expand(word) for word in instruction.words]
        destination = Destination.parse(last, self.settings.working_dir)
        adds = instruction.name == "ADD"
        options = CopyOptions(_owner(chown) if chown else None, _mode(chmod) if chmod else None, unpack=adds)
        for source in sources:
            if _REMOTE.match(source):
                if not adds:
                    raise ValueError(f"source can't be a URL for COPY: {source}")
                raise NeedsBuilder(f"ADD fetches {source}")
        copy(self.context, self.filesystem, sources, destination, options)


def _owner(text: str) -> tuple[int, int]:
    """Read ``uid[:gid]``; a lone uid stands for both, and ``root`` is 0. Other names are in the image's database."""
    user, _, group = text.partition(":")
    numbers = []
    for name in (user or "0", group or user or "0"):
        if name != "root" and not (name.isascii() and name.isdecimal() and int(name) < 1 << 31):
            raise NeedsBuilder(f"only the image has the number of the user or group {name}")
        numbers.append(0 if name == "root" else int(name))
    return numbers[0], numbers[1]


def _mode(text: str) -> int:
    if not text[:1].isdecimal():
        raise NeedsBuilder(f"--chmod={text} is not an octal number")
    if not re.fullmatch("0*[0-7]{1,4}", text):
        raise ValueError(f"invalid --chmod {text!r}: expected an octal number up to 07777")
    return int(text, 8)
