"""Random Dockerfiles without ``RUN``, over a context with something of every kind, the same for the same seed."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.against_buildkit import words

_FILES = {
    "a.txt": "a", "b.txt": "b" * 700, "c.log": "c", "sp ace.txt": "space", "$dollar.txt": "dollar", "[x].txt": "x",
    "-dash": "dash", "run.sh": "#!/bin/sh\n", "dir/one.py": "1", "dir/two.py": "2", "dir/.hidden": "h",
    "dir/sub/deep.txt": "deep", "dir/sub/more/deeper.txt": "deeper", "other/one.py": "other 1", "empty.txt": "",
    "\u00e4/\u65e5.txt": "unicode", "x.tar.not": "not an archive",
}  # fmt: skip
_LINKS = {"link.txt": "a.txt", "dir/up": "../b.txt", "dirlink": "dir", "dangling": "nowhere", "outside": "/etc/hosts"}


def write_context(root: Path, chance: random.Random) -> None:
    """Write the context: files, directories, links, archives, odd names; modes and dates as *chance* has it."""
    root.mkdir()
    for name, content in _FILES.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        place.chmod(chance.choice([0o644, 0o644, 0o600, 0o755, 0o4750]))
    (root / "hollow").mkdir()
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for name in ("files.tar", "files.tar.gz"):
        (root / name).write_bytes(_archive(name, chance))
    for name in chance.sample(["dir", "dir/sub", "other", "hollow"], 2):
        (root / name).chmod(chance.choice([0o700, 0o2775, 0o1777]))
    if chance.random() < 0.4:
        rules = chance.sample(["*.log", "dir/sub", "!dir/sub/deep.txt", "**/*.py", "other", "!**/one.py", "Dockerfile*",
                               "hollow", "*.txt", "!a.txt", "dirlink"], 3)  # fmt: skip
        (root / ".dockerignore").write_text("\n".join(rules))
    for above, directories, names in os.walk(root, topdown=False):
        for name in [*directories, *names]:
            seconds = chance.randrange(1_000_000_000, 1_600_000_000) * 10**9 + 123_456_789
            os.utime(Path(above, name), ns=(seconds, seconds), follow_symlinks=False)


def _archive(name: str, chance: random.Random) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in (("packed", None), ("packed/in", b"in"), ("a.txt", b"packed a")):
            member = tarfile.TarInfo(path)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.mode = chance.choice([0o755, 0o700])
            member.uid = member.gid = chance.choice([0, 77])
            member.size, member.mtime = len(content or b""), 1_234_567_890
            tar.addfile(member, io.BytesIO(content or b""))
    return gzip.compress(packed.getvalue(), mtime=0) if name.endswith(".gz") else packed.getvalue()


class RandomDockerfile:
    """A Dockerfile for `write_context`; about one in three is refused for one reason or another.

    A *plain* one has nothing that needs a builder: no stage from scratch or elsewhere, no archive, no user by name.
    """

    def __init__(self, chance: random.Random, images: Sequence[str], *, plain: bool) -> None:
        self._chance = chance
        self._images = images
        self._plain = plain
        self._earlier: list[str] = []
        self._escape = "\\"
        self._careless = chance.random() < 0.3

    def text(self) -> str:
        """Return the whole file."""
        chance = self._chance
        lines = []
        if chance.random() < 0.08:
            self._escape = "`"
            lines.append("# escape=`")
        lines += ["# a comment", "ARG IMAGE", "ARG PLACE=/opt/place", f"ARG TAKEN={chance.choice(self._images)}"]
        count = chance.choice([1, 1, 1, 2, 3])
        for number in range(count):
            lines += self._stage(number)
        text = "".join(self._spelled(line) for line in lines)
        if chance.random() < 0.05:
            text = text.replace("\n", "\r\n")
        return "\ufeff" + text if chance.random() < 0.05 else text

    def _stage(self, number: int) -> list[str]:
        chance = self._chance
        earlier = [f"stage{number - 1}"] if number and not self._plain else []
        scratch = [] if self._plain else ["scratch"]
        base = chance.choice(["$IMAGE", "$IMAGE", "$IMAGE", "${IMAGE}", "$TAKEN", *scratch, *earlier])
        self._earlier = [str(number - 1), *earlier] if number else []
        return [
            f"{self._word('FROM')} {base} {self._word('AS')} stage{number}",
            "ARG PLACE", "ARG WORKSPACE", "ARG OWNER=1234:5678", "ARG BITS=0751", "ARG PORT=1234", "ARG SIGNAL=INT",
            "ENV NAME=a",
            *(chance.choice(_INSTRUCTIONS)(self) for _ in range(chance.choice([1, 2, 4, 7]))),
        ]  # fmt: skip

    def _word(self, word: str) -> str:
        return word.lower() if self._chance.random() < 0.05 else word

    def _spelled(self, line: str) -> str:
        """Break a line where that changes nothing, and put comments in between."""
        chance = self._chance
        if self._escape != "\\":
            line = line.replace("\\", self._escape)
        if line.startswith("#") or "<<" in line:
            return line + "\n"
        if chance.random() > 0.15 or " " not in line:
            return line + chance.choice(["\n", "\n", "\n", "\n\n", "\n# between\n", " \n"])
        head, _, tail = line.partition(" ")
        within = chance.choice(["", "# within\n", "  # within\n", "\n"])
        return f"{chance.choice(['', ' '])}{head} {self._escape}\n{within}  {tail}\n"

    def _handed_over(self, values: Sequence[str], for_builder: Sequence[str]) -> Sequence[str]:
        """Return *values* and, unless this is a plain one, those that topcoat hands to a builder."""
        return values if self._plain else [*values, *for_builder]

    def _odd(self) -> bool:
        """Tell whether this is a place for a mistake."""
        return self._careless and self._chance.random() < 0.1

    def _copy(self) -> str:
        sources = self._handed_over(words.SOURCES, words.CLASS_SOURCES)
        return self._words("COPY", self._copy_flags(), self._sources(sources))

    def _copy_parents(self) -> str:
        if self._plain:
            return self._copy()
        flags = ["--parents", *self._copy_flags()]
        return self._words("COPY", flags, self._sources(words.PARENT_SOURCES))

    def _copy_from(self) -> str:
        chance = self._chance
        if self._plain:
            return self._copy()
        stages = ["$IMAGE"] if self._odd() else [*self._earlier, chance.choice(self._images)]
        sources = [chance.choice(words.IMAGE_SOURCES)]
        return self._words("COPY", [f"--from={chance.choice(stages)}", *self._copy_flags()], sources)

    def _add(self) -> str:
        sources = self._sources([*words.SOURCES, *([] if self._plain else words.ARCHIVES * 5)])
        return self._words("ADD", self._copy_flags(), sources)

    def _here(self) -> str:
        chance = self._chance
        if self._plain:
            return self._copy()
        word, quoted = chance.choice([("EOF", "EOF"), ("EOF", '"EOF"'), ("EOF", "'EOF'"), ("body", "body")])
        strip = chance.choice(["", "-"])
        indent = "\t" if strip else ""
        body = chance.choice(words.HERE_BODIES)
        lines = [indent + line for line in body.split("\n")] if body else []
        flags = " ".join(flag for flag in self._copy_flags() if not flag.startswith("--exclude"))
        target = chance.choice(words.HERE_DESTINATIONS)
        first = f"{chance.choice(['COPY', 'ADD'])} {flags + ' ' if flags else ''}<<{strip}{quoted} {target}"
        again = [f"SECOND $NAME{word}", "SECOND"] if chance.random() < 0.15 else []
        if again:
            first = first.replace(f" {target}", f" <<SECOND {target.rstrip('/')}/")
        return "\n".join([first, *lines, indent + word, *again])

    def _sources(self, of: Sequence[str]) -> list[str]:
        chance = self._chance
        if self._odd():
            return [chance.choice(words.MISSING)]
        return chance.choices(of, k=chance.choice([1, 1, 1, 2, 3]))

    def _copy_flags(self) -> list[str]:
        chance = self._chance
        flags = []
        if chance.random() < 0.3:
            flags.append(f"--chown={chance.choice(words.OWNERS)}")
        if chance.random() < 0.3:
            modes = words.ODD_MODES if self._odd() else self._handed_over(words.MODES, words.SYMBOLIC_MODES)
            flags.append(f"--chmod={chance.choice(modes)}")
        for _ in range(0 if self._plain else chance.choice([0, 0, 0, 1, 2])):
            flags.append(f"--exclude={chance.choice(words.EXCLUDED)}")
        if self._odd():
            flags.append(chance.choice(words.ODD_FLAGS))
        return flags

    def _words(self, name: str, flags: Sequence[str], sources: Sequence[str]) -> str:
        chance = self._chance
        destination = chance.choice(words.DESTINATIONS)
        if len(sources) > 1 and not self._odd() and not destination.endswith("/"):
            destination += "/"
        paths = [*sources, destination]
        if any(" " in path for path in paths) or chance.random() < 0.2:
            return " ".join([self._word(name), *flags, json.dumps(paths)])
        return " ".join([self._word(name), *flags, *paths])

    def _env(self) -> str:
        return self._pairs("ENV")

    def _label(self) -> str:
        return self._pairs("LABEL")

    def _pairs(self, name: str) -> str:
        chance = self._chance
        if chance.random() < 0.15:
            value = chance.choice([value for value in words.VALUES if value])
            return f"{name} {chance.choice(['ONE', 'NAME', 'a.b'])} {value}"
        pairs = [f"{chance.choice(['ONE', 'TWO', 'NAME', 'PATH', 'a.b'])}={self._value()}"
                 for _ in range(chance.choice([1, 1, 2, 3]))]  # fmt: skip
        return f"{self._word(name)} {' '.join(pairs)}"

    def _value(self) -> str:
        value = self._chance.choice(self._handed_over(words.VALUES, words.SUBSTITUTIONS))
        if any(letter in value for letter in " \t'\"") or self._chance.random() < 0.3:
            return '"' + value.replace('"', '\\"') + '"'
        return value

    def _arg(self) -> str:
        return self._one_of("ARG", words.ARGUMENTS)

    def _one_of(self, name: str, values: Sequence[str], odd: Sequence[str] = ()) -> str:
        return f"{self._word(name)} {self._chance.choice(odd if odd and self._odd() else values)}"

    def _workdir(self) -> str:
        return self._one_of("WORKDIR", words.WORKDIRS, words.ODD_WORKDIRS)

    def _user(self) -> str:
        return self._one_of("USER", words.USERS if self._plain else [*words.USERS, *words.NAMED_USERS])

    def _cmd(self) -> str:
        return self._one_of("CMD", words.COMMANDS)

    def _entrypoint(self) -> str:
        return self._one_of("ENTRYPOINT", words.COMMANDS)

    def _expose(self) -> str:
        return self._one_of("EXPOSE", self._handed_over(words.PORTS, words.PORT_RANGES), words.ODD_PORTS)

    def _volume(self) -> str:
        return self._one_of("VOLUME", words.VOLUMES, words.ODD_VOLUMES)

    def _healthcheck(self) -> str:
        return self._env() if self._plain else self._one_of("HEALTHCHECK", words.CHECKS, words.ODD_CHECKS)

    def _shell(self) -> str:
        return self._env() if self._plain else self._one_of("SHELL", words.SHELLS, words.ODD_SHELLS)

    def _signal(self) -> str:
        return self._env() if self._plain else self._one_of("STOPSIGNAL", words.SIGNALS, words.ODD_SIGNALS)

    def _maintainer(self) -> str:
        return "MAINTAINER Some One <some@example.org>"

    def _onbuild(self) -> str:
        return self._env() if self._plain else self._one_of("ONBUILD", words.TRIGGERS, words.ODD_TRIGGERS)

    def _nonsense(self) -> str:
        if not self._odd():
            return self._env()
        return self._chance.choice(words.NONSENSE)


_INSTRUCTIONS: list[Callable[[RandomDockerfile], str]] = [
    *[RandomDockerfile._copy] * 5,
    *[RandomDockerfile._copy_parents] * 2,
    *[RandomDockerfile._copy_from] * 2,
    *[RandomDockerfile._add] * 2,
    *[RandomDockerfile._here] * 2,
    *[RandomDockerfile._env] * 2,
    *[RandomDockerfile._workdir] * 2,
    RandomDockerfile._label,
    RandomDockerfile._arg,
    RandomDockerfile._user,
    RandomDockerfile._cmd,
    RandomDockerfile._entrypoint,
    RandomDockerfile._expose,
    RandomDockerfile._volume,
    RandomDockerfile._healthcheck,
    RandomDockerfile._shell,
    RandomDockerfile._signal,
    RandomDockerfile._maintainer,
    RandomDockerfile._onbuild,
    RandomDockerfile._nonsense,
]
