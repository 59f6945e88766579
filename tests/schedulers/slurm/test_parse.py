"""What Slurm's commands print; most of it was recorded on 22.05."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.schedulers.slurm import parse
from topcoat.schedulers.slurm.parse import FIELD, ROW, Record, Step


def table(*rows: tuple[str, ...], end: str = ROW) -> str:
    return "".join(FIELD.join(row) + end + ("\n" if end == ROW else "") for row in rows)


def test_components_of_a_heterogeneous_job_are_rows_of_one_job() -> None:
    text = table(
        ("53+0", "RUNNING", "None", "n1", "1795803710", "root", "/w/a|b/.topcoat", "train"),
        ("53+1", "PENDING", "Resources", "", "1795803710", "root", "/w/a|b/.topcoat", "na|me\nx"),
    )
    first, second = parse.queue_rows(text)
    assert (first.job_id, first.component, first.state, first.directory) == ("53", 0, "RUNNING", "/w/a|b/.topcoat")
    assert (second.job_id, second.component, second.reason, second.name) == ("53", 1, "Resources", "na|me\nx")
    assert first.submitted == 1795803710.0


@pytest.mark.parametrize("job_id", ["12", "12_3", "12_[4-9%2]", "12+0"])
def test_every_form_of_an_id_has_the_job_s_id(job_id: str) -> None:
    (row,) = parse.queue_rows(table((job_id, "RUNNING", "", "", "", "", "", "")))
    assert row.job_id == "12"


ACCOUNTING = table(
    ("7", "NODE_FAIL", "0:0", "0:0", "10", "11", "15", "n4", "root", "/w", "job"),
    ("7.batch", "CANCELLED", "0:15", "", "10", "11", "15", "n4", "", "", "batch"),
    ("7", "FAILED", "3:0", "7:0", "16", "22", "25", "n1", "root", "/w", "job"),
    ("7.batch", "FAILED", "3:0", "", "16", "22", "25", "n1", "", "", "batch"),
    ("7.0", "OUT_OF_MEMORY", "0:125", "", "16", "22", "25", "n1", "", "", "sh"),
    ("8+1", "CANCELLED by 0", "0:0", "0:15", "Unknown", "Unknown", "Unknown", "None assigned", "root", "/w", "b"),
    end="\n",
)


def test_each_run_of_a_requeued_job_has_its_own_steps() -> None:
    cancelled, first, second = parse.accounting_runs(ACCOUNTING)
    assert (first.state, first.steps) == ("NODE_FAIL", (Step("batch", "CANCELLED", 0, 15),))
    assert (second.exit_code, second.derived_exit_code, second.ended) == (3, 7, 25.0)
    assert second.steps[1] == Step("0", "OUT_OF_MEMORY", 0, 125)
    assert (cancelled.job_id, cancelled.component, cancelled.started) == ("8", 1, None)


def test_partitions_have_their_limits() -> None:
    text = table(
        ("main*", "up", "infinite", "1-infinite", "4", "64", "512000", "gpu:a100:4(S:0-1),lustre:1,gpu:t4:2"),
        ("short", "down", "1-00:00:00", "2-16", "2+", "4", "2000+", "(null)"),
    )
    main, short = parse.partitions(text)
    assert (main.partition, main.is_default, main.is_up, main.gpus) == ("main", True, True, 6)
    assert (main.min_nodes, main.max_nodes, short.min_nodes, short.max_nodes) == (1, float("inf"), 2, 16)
    assert (short.time_limit_s, short.nodes, short.memory_mb, short.gpus, short.is_up) == (86400, 2, 2000, 0, False)


@pytest.mark.parametrize(
    ("printed", "cpus"), [("1K", 1024), ("1.50K", 1536), ("1023", 1023), ("64+", 64), ("1K+", 1024)]
)
def test_many_cpus_are_printed_in_thousands(printed: str, cpus: int) -> None:
    (row,) = parse.partitions(table(("main", "up", "infinite", "1", "1", printed, "1", "(null)")))
    assert row.cpus == cpus


def test_gpus_that_are_not_consumed_are_gpus() -> None:
    gres = "gpu:a100:no_consume:4,gpu:no_consume:2(S:0)"
    (row,) = parse.partitions(table(("main", "up", "infinite", "1", "1", "1", "1", gres)))
    assert row.gpus == 6


def test_a_record_says_where_and_how_a_replica_ended() -> None:
    text = "n1 100 - - train er-0\nn2 100 105 139 ev'al-1\nhalf a line"
    assert parse.records(text) == {
        "train er-0": Record("train er-0", "n1", 100.0, None, None),
        "ev'al-1": Record("ev'al-1", "n2", 100.0, 105.0, 139),
    }


@pytest.mark.parametrize("text", ["123\n", "123;cluster\n", "Welcome to the cluster\n123\n"])
def test_the_id_of_a_submitted_job_is_found(text: str) -> None:
    assert parse.submitted_id(text) == "123"


def test_no_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="no job id"):
        parse.submitted_id("sbatch: something\n")


@given(st.lists(st.sampled_from([FIELD, ROW, "\n", "1", "+", ":", ".", "a", " ", "é", "9" * 30])).map("".join))
def test_nothing_that_is_printed_raises(text: str) -> None:
    parse.queue_rows(text)
    parse.accounting_runs(text)
    parse.partitions(text)
    parse.records(text)
