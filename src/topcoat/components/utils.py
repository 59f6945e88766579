"""Components for small jobs: print a message, touch or copy a file, run a command, a Python program or a binary."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

from topcoat import specs
from topcoat.components.programs import program
from topcoat.errors import InvalidComponent, MissingDependency
from topcoat.specs.default_image import default_image


def echo(msg: str = "hello world", image: str = "", num_replicas: int = 1) -> specs.AppDef:
    """Print a message.

    Args:
        msg: message to print
        image: image to run in (default: $TOPCOAT_IMAGE, else a plain Python image)
        num_replicas: number of replicas to run
    """
    role = specs.Role(
        name="echo",
        image=image or default_image(),
        entrypoint="echo",
        args=[msg],
        num_replicas=num_replicas,
        resource=specs.resource(cpu=1),
    )
    return specs.AppDef(name="echo", roles=[role])


def touch(file: str, image: str = "") -> specs.AppDef:
    """Create an empty file, or set the modification time of an existing file to now.

    Args:
        file: path or fsspec URL of the file (a URL needs fsspec in the image)
        image: image to run in, with python3 (default: $TOPCOAT_IMAGE, else a plain Python image)
    """
    role = specs.Role(
        name="touch",
        image=image or default_image(),
        entrypoint="python3",
        args=["-c", program("touch"), file],
        resource=specs.resource(cpu=1),
    )
    return specs.AppDef(name="touch", roles=[role])


def copy(src: str, dst: str, image: str = "", mounts: list[str] | None = None) -> specs.AppDef:
    """Copy a file, and create the directories of its destination.

    Args:
        src: path or fsspec URL of the file to read (a URL needs fsspec in the image)
        dst: path or fsspec URL of the file to write
        image: image to run in, with python3 (default: $TOPCOAT_IMAGE, else a plain Python image)
        mounts: mounts of the container, such as type=bind,src=/host,dst=/job,readonly
    """
    role = specs.Role(
        name="copy",
        image=image or default_image(),
        entrypoint="python3",
        args=["-c", program("copy"), src, dst],
        resource=specs.resource(cpu=1),
        mounts=specs.parse_mounts(mounts or []),
    )
    return specs.AppDef(name="copy", roles=[role])


def sh(
    *args: str,
    image: str = "",
    num_replicas: int = 1,
    cpu: int = 1,
    gpu: int = 0,
    memMB: int = 1024,  # noqa: N803  (TorchX's name)
    h: str | None = None,
    env: dict[str, str] | None = None,
    max_retries: int = 0,
    mounts: list[str] | None = None,
    entrypoint: str | None = None,
) -> specs.AppDef:
    """Run a command with sh. Its words are quoted: the shell does not expand variables.

    Args:
        args: the command and its arguments
        image: image to run in (default: $TOPCOAT_IMAGE, else a plain Python image)
        num_replicas: number of replicas to run
        cpu: CPUs of each replica
        gpu: GPUs of each replica
        memMB: memory of each replica in MiB
        h: named resource, instead of cpu, gpu and memMB
        env: environment variables (K=V,K2=V2)
        max_retries: maximum number of restarts
        mounts: mounts of the container, such as type=bind,src=/host,dst=/job,readonly
        entrypoint: program to run instead of sh, with the words as its arguments
    """
    if not args and entrypoint is None:
        raise InvalidComponent("utils.sh needs a command", hint="topcoat run utils.sh echo hello")
    role = specs.Role(
        name="sh",
        image=image or default_image(),
        entrypoint=entrypoint or "sh",
        args=list(args) if entrypoint else ["-c", shlex.join(args)],
        num_replicas=num_replicas,
        resource=specs.resource(cpu=cpu, gpu=gpu, memMB=memMB, h=h),
        env={"LOGLEVEL": os.environ.get("LOGLEVEL", "WARNING"), **(env or {})},
        max_retries=max_retries,
        mounts=specs.parse_mounts(mounts or []),
    )
    return specs.AppDef(name="sh", roles=[role])


def python(
    *args: str,
    m: str | None = None,
    c: str | None = None,
    script: str | None = None,
    image: str = "",
    name: str = "torchx_utils_python",
    cpu: int = 1,
    gpu: int = 0,
    memMB: int = 1024,  # noqa: N803
    h: str | None = None,
    num_replicas: int = 1,
    mounts: list[str] | None = None,
) -> specs.AppDef:
    """Run a Python module, script or command; exactly one of -m, -c and --script.

    Args:
        args: arguments of the program
        m: module to run, as python -m does
        c: program text, as python -c takes it
        script: file to run
        image: image to run in (default: $TOPCOAT_IMAGE, else a plain Python image)
        name: name of the job
        cpu: CPUs of each replica
        gpu: GPUs of each replica
        memMB: memory of each replica in MiB
        h: named resource, instead of cpu, gpu and memMB
        num_replicas: number of replicas to run
        mounts: mounts of the container, such as type=bind,src=/host,dst=/job,readonly
    """
    programs = [words for words in (m and ["-m", m], c and ["-c", c], script and [script]) if words]
    if len(programs) != 1:
        raise InvalidComponent(
            "utils.python needs exactly one of -m, -c and --script",
            hint="topcoat run utils.python --script main.py -- --args of main.py",
        )
    role = specs.Role(
        name="python",
        image=image or default_image(),
        entrypoint="python",
        args=[*programs[0], *args],
        env={"HYDRA_MAIN_MODULE": m} if m else {},
        num_replicas=num_replicas,
        resource=specs.resource(cpu=cpu, gpu=gpu, memMB=memMB, h=h),
        mounts=specs.parse_mounts(mounts or []),
    )
    return specs.AppDef(name=name, roles=[role])


def binary(
    *args: str,
    entrypoint: str,
    name: str = "torchx_utils_binary",
    image: str = "",
    num_replicas: int = 1,
    cpu: int = 1,
    gpu: int = 0,
    memMB: int = 1024,  # noqa: N803
    h: str | None = None,
) -> specs.AppDef:
    """Run a program.

    Args:
        args: arguments of the program
        entrypoint: the program
        name: name of the job
        image: image to run in (default: $TOPCOAT_IMAGE, else a plain Python image)
        num_replicas: number of replicas to run
        cpu: CPUs of each replica
        gpu: GPUs of each replica
        memMB: memory of each replica in MiB
        h: named resource, instead of cpu, gpu and memMB
    """
    role = specs.Role(
        name="binary",
        image=image or default_image(),
        entrypoint=entrypoint,
        args=list(args),
        num_replicas=num_replicas,
        resource=specs.resource(cpu=cpu, gpu=gpu, memMB=memMB, h=h),
    )
    return specs.AppDef(name=name, roles=[role])


def hydra(
    *overrides: str, config_name: Annotated[str, "-cn"], config_dir: Annotated[str, "-cd"] = ".torchx"
) -> specs.AppDef:
    """Make the application from a Hydra configuration (hydra-core must be installed).

    Its key app has _target_: torchx.specs.AppDef, or topcoat.specs.AppDef. The resolvers ${torchx.app_id:},
    ${torchx.replica_id:}, ${torchx.rank0_env:} and ${torchx.img_root:} give the macros.

    Args:
        overrides: Hydra's overrides (role.num_replicas=2)
        config_name: name of the configuration
        config_dir: directory of the configurations
    """
    try:
        from hydra import compose, initialize_config_dir
        from hydra.errors import HydraException
        from hydra.utils import instantiate
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError:
        raise MissingDependency("utils.hydra needs Hydra", hint="pip install hydra-core") from None
    from topcoat.torchx_alias import install_as_torchx_if_missing

    install_as_torchx_if_missing()
    for macro in ("app_id", "replica_id", "rank0_env", "img_root"):
        # The backslash keeps OmegaConf from resolving the macro itself.
        text = f"\\{getattr(specs.macros, macro)}"
        OmegaConf.register_new_resolver(f"torchx.{macro}", lambda text=text: text, replace=True)
    try:
        with initialize_config_dir(os.path.abspath(config_dir), version_base="1.3"):
            config = compose(config_name, overrides=list(overrides))
            if "app" not in config:
                raise InvalidComponent(
                    f"the configuration {config_name} in {config_dir} has no key app",
                    hint="give it app: with _target_: torchx.specs.AppDef",
                )
            app: specs.AppDef = instantiate(config.app, _convert_="all")
    except (HydraException, OmegaConfBaseException) as error:
        raise InvalidComponent(f"invalid configuration {config_name} in {config_dir}: {error}") from error
    return app
