"""Completion scripts for bash, zsh and fish, made from the commands' parsers.

They run no command while the user types, except ``topcoat completion --handles``, which reads the handles of jobs
from the state directory, and ``topcoat completion --line``, which finds run options and the components of a file.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

from topcoat.cli.command_docs import CommandDoc, Flag, Kind

_HANDLES = "topcoat completion --handles 2> /dev/null"
_LINE = "topcoat completion --line"


def bash(docs: Sequence[CommandDoc], values: Mapping[Kind, Sequence[str]]) -> str:
    """Return the script for bash; *values* are the values of each kind."""
    value_cases, word_cases = [], []
    for doc in docs:
        for flag in doc.flags:
            if flag.value:
                names = " | ".join(f"{doc.name}:{spelling}" for spelling in flag.spellings)
                value_cases.append(f"        {names}) {_bash_values(flag.choices, flag.kind, values)}; return ;;")
        words = _words([*(spelling for flag in doc.flags for spelling in flag.spellings)])
        first = _bash_values(doc.choices, doc.kind, values)
        word_cases.append(f"        {doc.name}) if [[ $cur == -* ]]; then _topcoat_words {words}; else {first}; fi ;;")
    names = _words([doc.name for doc in docs])
    lines = [
        "# bash completion for topcoat: put it into a file that bash reads, or  source <(topcoat completion bash)",
        "_topcoat_words() {",
        '    COMPREPLY=($(compgen -W "$*" -- "$cur"))',
        "}",
        "_topcoat_handles() {",
        "    # bash completes only what follows the last colon of a word.",
        '    local word=${COMP_LINE:0:COMP_POINT} before=""',
        "    word=${word##* }",
        '    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && before=${word%"${word##*:}"}',
        f'    COMPREPLY=($(compgen -W "$({_HANDLES})" -- "$word"))',
        '    COMPREPLY=("${COMPREPLY[@]#"$before"}")',
        "}",
        "_topcoat_line() {",
        '    local line=${COMP_LINE:0:COMP_POINT} word before=""',
        "    word=${line##* }",
        '    [[ $word == *[:=]* ]] && before=${word%"${word##*[:=]}"}',
        f'    COMPREPLY=($(compgen -W "$({_LINE} "$line" 2> /dev/null)" -- "$word"))',
        '    COMPREPLY=("${COMPREPLY[@]#"$before"}")',
        "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null",
        "}",
        "_topcoat() {",
        '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command="" position',
        "    COMPREPLY=()",
        "    for ((position = 1; position < COMP_CWORD; position++)); do",
        "        if [[ ${COMP_WORDS[position]} == -- ]]; then",
        "            # What follows -- is a command of its own.",
        '            [[ $prev == -- ]] && COMPREPLY=($(compgen -c -- "$cur"))',
        "            return",
        "        fi",
        "        [[ -z $command && ${COMP_WORDS[position]} != -* ]] && command=${COMP_WORDS[position]}",
        "    done",
        "    local line=${COMP_LINE:0:COMP_POINT}",
        "    local word=${line##* } before=${line% *}",
        "    case $word:${before##* } in",
        "        *.py*:* | *:-cfg | *:--scheduler-args) _topcoat_line; [[ -n $COMPREPLY ]] && return ;;",
        "    esac",
        "    case $command:$prev in",
        *value_cases,
        "    esac",
        "    case $command in",
        f'        "") _topcoat_words {names} --help --version --debug ;;',
        *word_cases,
        "    esac",
        "}",
        "complete -o bashdefault -o default -F _topcoat topcoat",
    ]
    return "\n".join(lines) + "\n"


def _bash_values(choices: Sequence[str], kind: Kind, values: Mapping[Kind, Sequence[str]]) -> str:
    if kind == "directory":
        return 'compopt -o dirnames 2> /dev/null; COMPREPLY=($(compgen -d -- "$cur"))'
    if kind == "handle":
        return "_topcoat_handles"
    if kind == "cfg":
        return "_topcoat_line"
    words = choices or values.get(kind, ())
    return f"_topcoat_words {_words(words)}" if words else ":"


def _words(words: Sequence[str]) -> str:
    return shlex.join(words)


def zsh(docs: Sequence[CommandDoc], values: Mapping[Kind, Sequence[str]]) -> str:
    """Return the script for zsh; *values* are the values of each kind."""
    lines = [
        "#compdef topcoat",
        "# zsh completion for topcoat: save it as _topcoat in a directory of $fpath, or",
        "# source <(topcoat completion zsh)",
        "_topcoat_handles() {",
        f'    compadd -- ${{(f)"$({_HANDLES})"}}',
        "}",
        "_topcoat_line() {",
        f'    local -a found=(${{(f)"$({_LINE} "${{(j: :)words[1,CURRENT]}}" 2> /dev/null)"}})',
        "    [[ $found[1] == *= ]] && compadd -S '' -a found || compadd -a found",
        "}",
        "_topcoat_components() {",
        "    [[ $words[CURRENT] == *.py* ]] && _topcoat_line",
        '    compadd "$@"',
        "    _files -g '*.py'",
        "}",
        "_topcoat() {",
        "    local -a topcoat_commands",
        "    topcoat_commands=(",
        *(f"        {shlex.quote(f'{doc.name}:{doc.summary}')}" for doc in docs),
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        _describe command topcoat_commands",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    (( CURRENT-- ))",
        "    local dashes=${words[(i)--]}",
        "    if (( dashes < CURRENT )); then",
        "        # What follows -- is a command of its own.",
        "        shift $dashes words",
        "        (( CURRENT -= dashes ))",
        "        _normal",
        "        return",
        "    fi",
        "    case $command in",
    ]
    for doc in docs:
        specs = [spec for flag in doc.flags for spec in _zsh_flag(flag, values)]
        if doc.arguments or doc.kind or doc.choices:
            specs.append(f"*:argument:{_zsh_values(doc.choices, doc.kind, values)}")
        lines += [f"        {doc.name}) _arguments \\"]
        lines += [f"            {shlex.quote(spec)} \\" for spec in specs[:-1]]
        lines += [f"            {shlex.quote(specs[-1])} ;;"]
    lines += [
        "    esac",
        "}",
        'if [[ $funcstack[1] == _topcoat ]]; then _topcoat "$@"; else compdef _topcoat topcoat; fi',
    ]
    return "\n".join(lines) + "\n"


def _zsh_flag(flag: Flag, values: Mapping[Kind, Sequence[str]]) -> list[str]:
    text = flag.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = f":value:{_zsh_values(flag.choices, flag.kind, values)}" if flag.value else ""
    once = "" if flag.repeats else f"({' '.join(flag.spellings)})"
    return [f"{once or '*'}{spelling}[{text}]{value}" for spelling in flag.spellings]


def _zsh_values(choices: Sequence[str], kind: Kind, values: Mapping[Kind, Sequence[str]]) -> str:
    if kind == "directory":
        return "_files -/"
    if kind == "handle":
        return "_topcoat_handles"
    if kind == "cfg":
        return "_topcoat_line"
    words = choices or values.get(kind, ())
    if kind == "component":
        return f"_topcoat_components {' '.join(words)}"
    return f"({' '.join(words)})" if words else "_files" if kind == "file" else " "


def fish(docs: Sequence[CommandDoc], values: Mapping[Kind, Sequence[str]]) -> str:
    """Return the script for fish; *values* are the values of each kind."""
    lines = [
        "# fish completion for topcoat: save it as ~/.config/fish/completions/topcoat.fish, or",
        "# topcoat completion fish | source",
        "function __topcoat_at",
        "    set -l words (commandline -opc)",
        "    contains -- $argv[1] $words[2..-1]; and not contains -- -- $words",
        "end",
        "function __topcoat_rest",
        "    # What follows -- is a command of its own.",
        "    set -l words (commandline -opc)",
        "    set -e words[1..(contains -i -- -- $words)]",
        "    complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))",
        "end",
        "function __topcoat_line",
        "    string match -q -- '*.py*' (commandline -ct); or contains -- (commandline -opc)[-1] -cfg --scheduler-args",
        f"    and {_LINE} (commandline -cp) 2> /dev/null",
        "end",
        "complete -c topcoat -f",
        "complete -c topcoat -n 'contains -- -- (commandline -opc)' -a '(__topcoat_rest)'",
    ]
    for doc in docs:
        lines.append(f"complete -c topcoat -n __fish_use_subcommand -a {doc.name} -d {shlex.quote(doc.summary)}")
    for doc in docs:
        prefix = f"complete -c topcoat -n '__topcoat_at {doc.name}'"
        for flag in doc.flags:
            names = " ".join(_fish_name(spelling) for spelling in flag.spellings)
            lines.append(f"{prefix} {names} -d {shlex.quote(flag.help)}{_fish_values(flag, values)}")
        words = doc.choices or values.get(doc.kind, ())
        if words:
            lines.append(f"{prefix} -a {shlex.quote(' '.join(words))}")
        elif doc.kind == "directory":
            lines.append(f"{prefix} -a '(__fish_complete_directories)'")
        elif doc.kind == "handle":
            lines.append(f"{prefix} -a '({_HANDLES})'")
        if doc.kind == "component":
            lines.append(f"{prefix} -k -a '(__topcoat_line)'")
    return "\n".join(lines) + "\n"


def _fish_name(spelling: str) -> str:
    if spelling.startswith("--"):
        return f"-l {spelling[2:]}"
    return f"-s {spelling[1:]}" if len(spelling) == 2 else f"-o {spelling[1:]}"


def _fish_values(flag: Flag, values: Mapping[Kind, Sequence[str]]) -> str:
    if not flag.value:
        return ""
    if flag.kind == "directory":
        return " -x -a '(__fish_complete_directories)'"
    if flag.kind == "cfg":
        return " -x -a '(__topcoat_line)'"
    words = flag.choices or values.get(flag.kind, ())
    if words:
        return f" -x -a {shlex.quote(' '.join(words))}"
    return " -r -F" if flag.kind == "file" else " -x"


SCRIPTS: Mapping[str, Callable[[Sequence[CommandDoc], Mapping[Kind, Sequence[str]]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}
