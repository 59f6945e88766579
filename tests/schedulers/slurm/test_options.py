from __future__ import annotations

from typing import Any

import pytest

from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.slurm.options import SlurmOpts, check_options, free_options, time_limit_s
from topcoat.schedulers.slurm.scheduler import create_scheduler
from topcoat.specs import AppDef


def test_the_options_have_torchxs_names_and_some_more() -> None:
    names = set(SlurmOpts())
    torchx = {"account", "partition", "time", "comment", "constraint", "mail-user", "mail-type", "job_dir", "qos"}
    assert torchx < names
    more = {
        "interactive",
        "reservation",
        "nodelist",
        "exclude",
        "gres",
        "exclusive",
        "sbatch",
        "slurm_host",
        "container",
    }
    assert names - torchx == more


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("2:00:00", 7200),
        ("2-0", 172800),
        ("1-2:3", 93780),
        ("1-2:3:4", 93784),
        ("infinite", float("inf")),
        ("UNLIMITED", float("inf")),
    ],
)
def test_a_time_limit_is_read_as_slurm_reads_it(text: str, seconds: float) -> None:
    assert time_limit_s(text) == seconds
    check_options({"time": text})


@pytest.mark.parametrize(
    ("cfg", "key"),
    [
        ({"time": "soon"}, "time"),
        ({"time": "1:2:3:4"}, "time"),
        ({"time": "-1"}, "time"),
        ({"time": "٣"}, "time"),
        ({"account": ""}, "account"),
        ({"account": " "}, "account"),
        ({"comment": "x" * 1025}, "comment"),
        ({"comment": "é" * 513}, "comment"),
        ({"nodelist": "a\0b"}, "nodelist"),
        ({"slurm_host": "-oProxyCommand=id"}, "slurm_host"),
        ({"slurm_host": "a b"}, "slurm_host"),
        ({"slurm_host": "user@host/x"}, "slurm_host"),
        ({"container": "podman"}, "container"),
        ({"sbatch": ["licenses=a b"]}, "sbatch"),
        ({"sbatch": ["-p main"]}, "sbatch"),
        ({"sbatch": ["'"]}, "sbatch"),
        ({"sbatch": ["--chdir=/tmp"]}, "sbatch"),
        ({"sbatch": ["array=1-9"]}, "sbatch"),
        ({"sbatch": ["--partition=main"]}, "sbatch"),
        ({"sbatch": ["--mail-user=me"]}, "sbatch"),
    ],
)
def test_what_sbatch_would_misunderstand_is_refused(cfg: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidRunConfigException) as refused:
        check_options(cfg)
    assert refused.value.cfg_key == key
    assert refused.value.hint


@pytest.mark.parametrize(
    ("option", "words", "hint"),
    [
        ("--output=/x", "--output is set by topcoat", "use instead: topcoat log"),
        ("--array=1-3", "--array is not available", "submit one job for each value"),
        ("--clusters=other", "--clusters is not available", "slurm_host=user@login"),
        ("--container=/bundle", "--container is not available", "-cfg container=oci"),
        ("--wait", "--wait is not available", "topcoat run --wait"),
        ("--qos=gpu", "--qos is a run option", "-cfg qos=..."),
        ("--outpu=/x", "--outpu is the beginning of --output", "in full"),
        ("--cluster=other", "--cluster is the beginning of --clusters", "in full"),
        ("--wra=id", "--wra is the beginning of --wrap", "in full"),
        ("part=main", "--part is the beginning of --partition", "in full"),
    ],
)
def test_an_option_that_is_not_free_is_refused_with_the_next_step(option: str, words: str, hint: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=words) as refused:
        free_options({"sbatch": [option]})
    assert hint in (refused.value.hint or "")


def test_a_cluster_that_only_sbatch_would_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_CLUSTERS", "other")
    with pytest.raises(InvalidRunConfigException, match="SBATCH_CLUSTERS is set") as refused:
        create_scheduler("topcoat").complete_cfg(AppDef("app", []), {}, "app-1")
    assert "unset SBATCH_CLUSTERS" in (refused.value.hint or "")


@pytest.mark.parametrize("host", ["login", "me@login.example.org", "me@10.0.0.1:2222", "me@[fe80::1]:22", "a_b-c"])
def test_a_login_node_is_a_host_with_a_user_and_a_port(host: str) -> None:
    check_options({"slurm_host": host})


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (["--nice=10 --licenses='a b:1'"], {"nice": "10", "licenses": "a b:1"}),
        (["nice=10", "hold"], {"nice": "10", "hold": None}),
        (["--time-min=5", "--mem-per-gpu=1G"], {"time-min": "5", "mem-per-gpu": "1G"}),
        (["--gpus=2", "--wait-all-nodes=1"], {"gpus": "2", "wait-all-nodes": "1"}),
        (["--begin=now+1hour", "--spread-job"], {"begin": "now+1hour", "spread-job": None}),
        ("--nice=1", {"nice": "1"}),
        (None, {}),
    ],
)
def test_other_options_of_sbatch_are_words_of_a_command_line(value: Any, options: dict[str, str | None]) -> None:
    assert free_options({"sbatch": value}) == options
