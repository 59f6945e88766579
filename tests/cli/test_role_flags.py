from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

import pytest

from topcoat.cli.commands import load
from topcoat.cli.parser import Parser
from topcoat.cli.role_flags import program_name, refuse_role_flags, role_app
from topcoat.errors import InvalidMount, TopcoatError, UsageError
from topcoat.specs import NULL_RESOURCE, BindMount, DeviceMount, Resource, RetryPolicy, Role, VolumeMount
from topcoat.specs.default_image import DEFAULT_IMAGE


def _args(*words: str) -> Namespace:
    parser = Parser("run", "")
    load("run").add_arguments(parser)
    return parser.parse(words)


def _role(*words: str) -> Role:
    args = _args(*words, "--", "python", "train.py", "--lr", "1")
    app = role_app(args, args.words[1:])
    assert [role.name for role in app.roles] == [app.name]
    return app.roles[0]


def test_a_command_is_a_role_that_asks_for_nothing() -> None:
    assert _role() == Role("train", DEFAULT_IMAGE, entrypoint="python", args=["train.py", "--lr", "1"])
    assert _role().resource is NULL_RESOURCE


def test_every_flag_reaches_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "my own")
    variables = tmp_path / "vars"
    variables.write_text("# comment\n\nA=of the file\nB=b=b\n  C=' c '\nMINE\n")
    role = _role(
        *("--name", "job", "--image", "base:1", "--num-replicas", "3", "--cpu", "4", "--gpu", "1", "--memMB", "2048"),
        *("--env", "A=1", "--env=D=x=y", "--env-file", str(variables)),
        *("--mount", "/data:/mnt:ro", "--mount", "type=device,src=/dev/null", "--port", "http=8080"),
        *("--max-retries", "2", "--retry-policy", "role"),
    )
    assert role == Role(
        "job",
        "base:1",
        entrypoint="python",
        args=["train.py", "--lr", "1"],
        num_replicas=3,
        resource=Resource(4, 1, 2048),
        env={"A": "1", "B": "b=b", "C": "' c '", "MINE": "my own", "D": "x=y"},
        mounts=[BindMount("/data", "/mnt", read_only=True), DeviceMount("/dev/null", "/dev/null")],
        port_map={"http": 8080},
        max_retries=2,
        retry_policy=RetryPolicy.ROLE,
    )


@pytest.mark.parametrize("flag", ["--resource", "--h"])
def test_a_resource_has_a_name(flag: str) -> None:
    assert _role(flag, "gpu.small").resource.gpu == 1


def test_part_of_a_resource_leaves_the_rest_at_its_default() -> None:
    assert _role("--cpu", "8").resource == Resource(8, 0, 1024)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", BindMount("/a", "/b")),
        ("/a:/b:rw", BindMount("/a", "/b")),
        ("/a:/b:ro", BindMount("/a", "/b", read_only=True)),
        ("name:/b", VolumeMount("name", "/b")),
        ("type=volume,src=name,dst=/b,readonly", VolumeMount("name", "/b", read_only=True)),
    ],
)
def test_mounts_are_spelled_as_docker_does_or_as_torchx_does(text: str, mount: object) -> None:
    assert _role("--mount", text).mounts == [mount]


def test_a_relative_mount_is_made_absolute(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _role("--mount", "./a:/b", "--mount", "~/c:/d").mounts == [
        BindMount(str(tmp_path / "a"), "/b"),
        BindMount(str(home / "c"), "/d"),
    ]


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--mount", "/a"), InvalidMount, "invalid --mount '/a': expected src:dst[:ro] or type=..."),
        (("--mount", "/a:b"), InvalidMount, "invalid --mount '/a:b'"),
        (("--mount", "/a:/b:rx"), InvalidMount, "invalid --mount '/a:/b:rx'"),
        (("--mount", "/a,b:/c"), InvalidMount, "invalid --mount '/a,b:/c': a path cannot contain a comma"),
        (("--mount", "type=tmpfs,dst=/b"), InvalidMount, "invalid mount type 'tmpfs'"),
        (("--port", "8080"), UsageError, "invalid --port '8080': expected NAME=N"),
        (("--port", "http=99999"), UsageError, "invalid --port 'http=99999': expected NAME=N"),
        (("--env", "=x"), UsageError, "--env: invalid variable '=x': expected K=V"),
        (("--env", "A B=x"), UsageError, "--env: invalid variable 'A B=x': expected K=V"),
        (("--env", "NOT_SET"), UsageError, "--env: NOT_SET is not set in your environment"),
        (("--env-file", "/no/such"), UsageError, "cannot read --env-file /no/such: No such file or directory"),
        (("--resource", "gpu.smal"), TopcoatError, "unknown named resource 'gpu.smal'"),
    ],
)
def test_an_invalid_value_is_an_error_that_shows_it(
    words: tuple[str, ...], error: type[TopcoatError], message: str
) -> None:
    with pytest.raises(error) as caught:
        _role(*words)
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == 2


def test_an_invalid_line_of_an_env_file_is_an_error_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("A=1\n\nB C=1\n")
    with pytest.raises(UsageError, match=r"vars:3: invalid variable: expected K=V"):
        _role("--env-file", str(tmp_path / "vars"))


@pytest.mark.parametrize("line", ["hush hush", "hush-hush", "=hush", "A=hush\0hush"])
def test_no_line_of_an_env_file_is_printed(tmp_path: Path, line: str) -> None:
    (tmp_path / "secret").write_text(f"{line}\n")
    (tmp_path / ".env").symlink_to("secret")
    with pytest.raises(UsageError) as caught:
        _role("--env-file", str(tmp_path / ".env"))
    assert "hush" not in f"{caught.value}{caught.value.hint}"


def test_an_env_file_that_leads_to_the_environment_of_a_process_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("/proc/self/environ")
    with pytest.raises(UsageError, match=r"--env-file .*/\.env leads to /proc or /sys"):
        _role("--env-file", str(tmp_path / ".env"))


def test_a_pipe_is_an_env_file() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"A=1\n")
    os.close(write_end)
    # As the shell's <(command).
    assert _role("--env-file", f"/dev/fd/{read_end}").env["A"] == "1"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python train.py", "train"),
        ("python3.12 -u -X dev scripts/my_train.py x.py", "my-train"),
        ("/usr/bin/python -m pkg.sub.main", "main"),
        ("python -c print(1).py", "python"),
        ("python", "python"),
        ("/usr/bin/env", "env"),
        ("./Train_Job.sh", "train-job-sh"),
        ("...", "app"),
    ],
)
def test_the_program_gives_the_name(command: str, name: str) -> None:
    assert program_name(command.split()) == name


@pytest.mark.parametrize("words", [("--cpu", "2"), ("--env", "A=1"), ("--max_retries", "0"), ("--h=gpu.small",)])
def test_a_role_flag_before_a_component_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="is a component"):
        refuse_role_flags(_args(*words, "utils.echo"), "utils.echo")
    refuse_role_flags(_args("--log", "utils.echo", *words), "utils.echo")
