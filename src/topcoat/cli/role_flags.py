"""``topcoat run [role flags] -- CMD ARGS...``: build an application of one role from flags."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from topcoat.errors import InvalidMount, UsageError
from topcoat.linked_files import is_kernel_file
from topcoat.notices import notice

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.specs import AppDef, BindMount, DeviceMount, VolumeMount

# No environment of a process is larger: execve(2).
_MAX_ENV_FILE_CHARS = 4 << 20
RETRY_POLICIES = ("REPLICA", "APPLICATION", "ROLE")
_NAMES = (
    *("name", "image", "num_replicas", "cpu", "gpu", "memMB", "resource", "env", "env_file", "mount", "port"),
    *("max_retries", "retry_policy"),
)


def add_role_flags(parser: Parser) -> None:
    """Add the flags that describe the role."""
    role = parser.add_argument_group("role flags, for -- CMD")
    role.add_argument("--name", help="name of the job (default: name of the program)")
    role.add_argument("--image", help="container image, or a directory for local")
    role.add_argument("--num-replicas", type=int, metavar="N", help="number of replicas (default: 1)")
    role.add_argument("--cpu", type=int, metavar="N", help="CPUs of each replica")
    role.add_argument("--gpu", type=int, metavar="N", help="GPUs of each replica")
    role.add_argument("--memMB", type=int, metavar="N", help="memory of each replica in MiB")
    role.add_argument("--resource", metavar="NAME", help="named resource, instead of --cpu, --gpu and --memMB")
    role.add_argument(
        "--env", action="append", metavar="K=V", help="environment variable; K alone copies your own; may be repeated"
    )
    role.add_argument("--env-file", action="append", metavar="F", help="file of K=V lines; --env overrides it")
    role.add_argument(
        "--mount",
        action="append",
        metavar="M",
        help="src:dst[:ro], or type=bind|volume|device,src=...,dst=...[,readonly]; may be repeated",
    )
    role.add_argument("--port", action="append", metavar="NAME=N", help="port that the role serves; may be repeated")
    role.add_argument("--max-retries", type=int, metavar="N", help="maximum number of restarts")
    role.add_argument("--retry-policy", type=str.upper, choices=RETRY_POLICIES, help="what to restart after a failure")
    parser.alias("--memMB", "--mem-mb")
    parser.alias("--resource", "--h")


def refuse_role_flags(args: Namespace, component: str) -> None:
    """Raise ``UsageError`` if a role flag stands before the name of a *component*."""
    for name in _NAMES:
        if getattr(args, name) is not None and name not in args.configured:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f'{flag} only applies to "topcoat run -- CMD"; {component} is a component',
                hint=f"topcoat run {component} --help lists the component's own flags; they go after its name",
            )


def role_app(args: Namespace, command: Sequence[str]) -> AppDef:
    """Return the application that runs *command*, with the role of the flags in *args*.

    Raises:
        UsageError: invalid value of a flag.
    """
    from topcoat.specs import AppDef, RetryPolicy, Role

    if not command:
        raise UsageError("no command after --", hint="topcoat run -- python train.py")
    name = args.name or program_name(command)
    role = Role(
        name=name,
        image=args.image or _default_image(),
        entrypoint=command[0],
        args=list(command[1:]),
        env={**_env_of_files(args.env_file or ()), **_env(args.env or ())},
        num_replicas=1 if args.num_replicas is None else args.num_replicas,
        max_retries=args.max_retries or 0,
        port_map=_ports(args.port or ()),
        mounts=_mounts(args.mount or ()),
    )
    if args.retry_policy:
        role.retry_policy = RetryPolicy(args.retry_policy)
    if any(value is not None for value in (args.cpu, args.gpu, args.memMB, args.resource)):
        from topcoat.specs import resource

        role.resource = resource(cpu=args.cpu, gpu=args.gpu, memMB=args.memMB, h=args.resource)
    return AppDef(name=name, roles=[role])


def warn_about_program(program: str) -> None:
    """Print a notice if *program* is a file of the current directory, which a container's PATH does not have."""
    from shutil import which

    from topcoat.suggest import program_of

    if "/" not in program and os.path.isfile(program) and which(program) is None:
        notice(f"a container does not find {program} on its PATH: write {program_of(program)}")


def warn_about_resources(args: Namespace, app: AppDef, scheduler: str, *, shares_gpus: bool) -> None:
    """Print a notice that names the flags in *args* and the mounts of *app* that a local scheduler ignores."""
    names = [*("mount", "port", "cpu", "memMB", "resource"), *([] if shares_gpus else ["gpu"])]
    given = [f"--{name}" for name in names if getattr(args, name) is not None and name not in args.configured]
    given += ["mounts"] if "--mount" not in given and any(role.mounts for role in app.roles) else []
    if given:
        verb = "has" if len(given) == 1 and given != ["mounts"] else "have"
        notice(f"{', '.join(given)} {verb} no effect on {scheduler}: its jobs are plain processes of this machine")


def program_name(command: Sequence[str]) -> str:
    """Return a name for *command*: that of the script or module that Python runs, else that of the program."""
    program = os.path.basename(command[0])
    name = program
    if re.fullmatch(r"python[\d.]*", program):
        words = list(command[1:])
        for position, word in enumerate(words):
            if word == "-m" and position + 1 < len(words):
                name = words[position + 1].rpartition(".")[2]
                break
            if word.endswith(".py"):
                name = os.path.basename(word).removesuffix(".py")
                break
            if word == "-c":
                break
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "app"


def _default_image() -> str:
    from topcoat.specs.default_image import default_image

    return default_image()


def _env(pairs: Iterable[str], where: str = "") -> dict[str, str]:
    """Parse *pairs*; *where*, the line of a file, takes the place of the pair in messages: files hold secrets."""
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name.strip() or any(char.isspace() or char == "\0" for char in name) or "\0" in value:
            shown = f"{where}: invalid variable" if where else f"--env: invalid variable {pair!r}"
            raise UsageError(f"{shown}: expected K=V")
        if not equals:
            if name not in os.environ:
                shown, name = (f"{where}: the variable", "NAME") if where else (f"--env: {name}", name)
                raise UsageError(
                    f"{shown} is not set in your environment", hint=f"export {name}, or write {name}=VALUE"
                )
            value = os.environ[name]
        env[name] = value
    return env


def _env_of_files(paths: Iterable[str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for path in paths:
        if is_kernel_file(path):
            raise UsageError(f"--env-file {path} leads to /proc or /sys", hint="name a file with lines K=V")
        try:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read(_MAX_ENV_FILE_CHARS + 1)
        except UnicodeDecodeError as error:
            raise UsageError(f"cannot read --env-file {path}: not UTF-8 at byte {error.start}") from error
        except OSError as error:
            raise UsageError(f"cannot read --env-file {path}: {error.strerror or error}") from error
        if len(text) > _MAX_ENV_FILE_CHARS:
            raise UsageError(f"--env-file {path} is longer than {_MAX_ENV_FILE_CHARS} characters")
        for number, line in enumerate(text.splitlines(), 1):
            # Docker's format: no quotes, no continuation, whole-line comments.
            if line.strip() and not line.lstrip().startswith("#"):
                env.update(_env([line.lstrip()], f"{path}:{number}"))
    return env


def _ports(pairs: Iterable[str]) -> dict[str, int]:
    ports: dict[str, int] = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if not name or not number.isdecimal() or not 0 < int(number) < 65536:
            raise UsageError(f"invalid --port {pair!r}: expected NAME=N, N from 1 to 65535", hint="--port http=8080")
        ports[name] = int(number)
    return ports


def _mounts(texts: Iterable[str]) -> list[BindMount | VolumeMount | DeviceMount]:
    from topcoat.specs import parse_mounts

    mounts: list[BindMount | VolumeMount | DeviceMount] = []
    for text in texts:
        mounts += parse_mounts([text] if text.startswith("type=") else [_long_mount(text)])
    return mounts


def _long_mount(text: str) -> str:
    """Return docker's ``src:dst[:ro]`` in TorchX's syntax."""
    source, *rest = text.split(":")
    if not source or not 1 <= len(rest) <= 2 or not rest[0].startswith("/") or rest[1:] not in ([], ["ro"], ["rw"]):
        raise InvalidMount(
            f"invalid --mount {text!r}: expected src:dst[:ro] or type=...",
            hint="--mount ~/data:/data:ro",
        )
    if "," in text:
        raise InvalidMount(f"invalid --mount {text!r}: a path cannot contain a comma")
    # As in docker: what looks like a path is one, anything else is the name of a volume.
    is_path = source.startswith(("/", ".", "~"))
    source = os.path.abspath(os.path.expanduser(source)) if is_path else source
    readonly = ",readonly" if rest[1:] == ["ro"] else ""
    return f"type={'bind' if is_path else 'volume'},src={source},dst={rest[0]}{readonly}"
