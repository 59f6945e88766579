"""``docs/cli.md``: ``python -m topcoat.cli.reference > docs/cli.md``."""

from __future__ import annotations

from topcoat.cli.command_docs import CommandDoc, Flag, command_docs
from topcoat.cli.main import GLOBAL_FLAGS

_HEAD = """\
# The command line

This page is generated from the commands themselves: `python -m topcoat.cli.reference > docs/cli.md`.

`topcoat COMMAND [flags] [arguments]`. Only results go to stdout; messages and progress go to stderr. With `--json` the
result is one JSON object.

A command that waits for a job (`local`, `--wait`, `--log`) ends with ^C, when its terminal is closed, and when the
reader of its output ends (`| head -3`). A job of `local`, `local_cwd` or `local_docker` is then cancelled; a job of a
cluster continues to run. `--detach` does not wait.

Text that others wrote (names of files, messages of registries and proxies) is printed with its control characters
escaped. Logs of jobs are printed byte by byte. `ls` to a file or a pipe, `ls -0` and `--json` are exact.

A file that stdout or stderr is redirected to is not part of the workspace: `topcoat run -- python train.py > run.log
2>&1` does not ship `run.log`. On Linux, nor does `topcoat run -- python train.py | tee run.log`.

| exit code | meaning |
| --- | --- |
| 0 | success; with `run`, the job has succeeded or was not waited for |
| 1 | failure: the message says what failed and where, the hint what to do next |
| 2 | wrong usage |
| 130 | ended by ^C (143 by SIGTERM, 129 by SIGHUP) |

The default of every flag can be set in `.torchxconfig`, in the section `[cli:COMMAND]`, by its name without the leading
dashes; a flag that may be repeated takes a value from each line. Dashes within a flag may be written as underscores.
"""


def reference() -> str:
    """Return the text of ``docs/cli.md``."""
    docs = command_docs()
    flags = [f"| `{flag}` | {text} |" for flag, text in GLOBAL_FLAGS.items()]
    commands = [f"| [`{doc.name}`](#{doc.name}) | {_cell(doc.summary)} |" for doc in docs]
    parts = [
        _HEAD,
        "\n".join(["| flag before the command | |", "| --- | --- |", *flags, ""]),
        "\n".join(["| command | what it does |", "| --- | --- |", *commands, ""]),
        *(_section(doc) for doc in docs),
    ]
    return "\n".join(parts)


def _section(doc: CommandDoc) -> str:
    lines = [f"## {doc.name}", "", f"`{doc.usage}`", "", f"{doc.summary[:1].upper()}{doc.summary[1:]}.", ""]
    if doc.arguments:
        lines += ["| argument | |", "| --- | --- |"]
        lines += [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in doc.arguments]
        lines.append("")
    # Every command has --help and --debug; they are described at the top.
    own = [flag for flag in doc.flags if flag.spellings[-1] not in ("--help", "--debug")]
    if own:
        lines += ["| flag | |", "| --- | --- |", *map(_row, own), ""]
    if doc.aliases:
        spelled = ", ".join(f"`{alias}` for `{flag}`" for alias, flag in doc.aliases)
        lines += [f"Also: {spelled}.", ""]
    if doc.examples:
        lines += ["```console", *(f"$ {example}" for example in doc.examples), "```", ""]
    return "\n".join(lines)


def _row(flag: Flag) -> str:
    value = f" {flag.value}" if flag.value else ""
    return f"| `{_cell(', '.join(flag.spellings) + value)}` | {_cell(flag.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
