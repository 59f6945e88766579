"""``docs/cli.md``: ``python -m topcoat.cli.reference > docs/cli.md``."""

from __future__ import annotations

from topcoat.cli.command_docs import CommandDoc, Flag, pages
from topcoat.cli.main import GLOBAL_FLAGS

_HEAD = """\
# The command line

This page is generated from the commands themselves: `python -m topcoat.cli.reference > docs/cli.md`.

`topcoat COMMAND [flags] [arguments]`. Results go to stdout, and nothing else does; words and progress go to stderr.
With `--json` the result is one JSON object.

| exit code | meaning |
| --- | --- |
| 0 | done; with `run`, the job has succeeded or was not waited for |
| 1 | something failed: the message says what and where, the hint what to do next |
| 2 | wrong usage |
| 130 | ended by ^C (143 by SIGTERM, 129 by SIGHUP) |

Every flag's default can be set in `.torchxconfig`, in the section `[cli:COMMAND]`, by its name without the dashes in
front; a flag that may be repeated takes a value from each line. Underscores do for the dashes within a flag.
"""


def reference() -> str:
    """Return the text of the page."""
    known = pages()
    flags = [f"| `{flag}` | {text} |" for flag, text in GLOBAL_FLAGS.items()]
    commands = [f"| [`{page.name}`](#{page.name}) | {_cell(page.summary)} |" for page in known]
    parts = [
        _HEAD,
        "\n".join(["| before the command | |", "| --- | --- |", *flags, ""]),
        "\n".join(["| command | what it does |", "| --- | --- |", *commands, ""]),
        *(_section(page) for page in known),
    ]
    return "\n".join(parts)


def _section(page: CommandDoc) -> str:
    lines = [f"## {page.name}", "", f"`{page.usage}`", "", f"{page.summary[:1].upper()}{page.summary[1:]}.", ""]
    if page.arguments:
        lines += ["| argument | |", "| --- | --- |"]
        lines += [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in page.arguments]
        lines.append("")
    # Every command has these two; the top of the page says what they do.
    own = [flag for flag in page.flags if flag.spellings[-1] not in ("--help", "--debug")]
    if own:
        lines += ["| flag | |", "| --- | --- |", *map(_row, own), ""]
    if page.aliases:
        spelled = ", ".join(f"`{alias}` for `{flag}`" for alias, flag in page.aliases)
        lines += [f"Also: {spelled}.", ""]
    if page.examples:
        lines += ["```console", *(f"$ {example}" for example in page.examples), "```", ""]
    return "\n".join(lines)


def _row(flag: Flag) -> str:
    value = f" {flag.value}" if flag.value else ""
    return f"| `{_cell(', '.join(flag.spellings) + value)}` | {_cell(flag.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
