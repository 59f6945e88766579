from __future__ import annotations

from topcoat.cli.command_docs import Flag, command_doc

_SINCE = "only lines written since then: 10m (ago; s, m, h or d), or 2030-01-31T12:00"


def test_a_command_is_described_as_its_parser_defines_it() -> None:
    log = command_doc("log")
    assert log.usage == "topcoat log [flags] [JOB[/ROLE[/K,K]]]"
    assert Flag(("--since",), "TIME", (), "", _SINCE, False) in log.flags
    assert [flag.choices for flag in log.flags if flag.spellings == ("--streams",)] == [
        ("stdout", "stderr", "combined")
    ]
    assert log.aliases == (("-t", "-f"), ("--tail", "-f"))
    assert log.examples[0].startswith("topcoat log")


def test_repeated_and_optional_arguments_show_in_the_usage() -> None:
    assert command_doc("cancel").usage == "topcoat cancel [flags] [JOB ...]"
    assert command_doc("runopts").usage == "topcoat runopts [flags] [SCHED]"
    assert command_doc("ls").usage == "topcoat ls [flags]"


def test_switches_have_no_value_and_repeatable_flags_are_marked() -> None:
    flags = {flag.spellings[-1]: flag for flag in command_doc("run").flags}
    assert flags["--dryrun"].value == ""
    assert flags["--env"].value == "K=V"
    assert flags["--env"].repeats
    assert not flags["--image"].repeats
    assert flags["--workspace"].kind == "directory"
    assert flags["--retry-policy"].choices == ("REPLICA", "APPLICATION", "ROLE")
