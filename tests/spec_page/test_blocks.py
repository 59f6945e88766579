from __future__ import annotations

from pathlib import Path

from tests.spec_page.page import run_completed, run_page


def test_the_custom_mixin_and_its_unit_test_run_as_printed(tmp_path: Path) -> None:
    then = "import unittest\nunittest.main(module=page, argv=['page', '-v'], exit=True)\n"
    printed = run_page(tmp_path, "mixin.py", "testing.py", then=then)
    assert "test_build_updates_role" in printed
    assert "Ran 1 test" in printed
    assert printed.rstrip().endswith("OK")


def test_the_page_s_unit_test_fails_for_a_mixin_that_does_not_update_the_role(tmp_path: Path) -> None:
    then = (
        "import unittest\n"
        "page.MyWorkspaceMixin.caching_build_workspace_and_update_role = lambda *args, **kwargs: None\n"
        "result = unittest.main(module=page, argv=['page'], exit=False).result\n"
        "assert len(result.failures) == 1 and not result.errors, result\n"
    )
    assert "'WORKSPACE_ARTIFACT' not found in {}" in run_page(tmp_path, "mixin.py", "testing.py", then=then)


def test_the_scheduler_skeleton_is_a_scheduler_with_the_mixin_first(tmp_path: Path) -> None:
    then = (
        "import topcoat.schedulers.api, topcoat.workspace\n"
        "bases = [base.__module__ + '.' + base.__name__ for base in page.MyScheduler.__mro__]\n"
        "print(*bases)\n"
        "print(page.MyScheduler.uses_workspace, sorted(page.MyScheduler.__abstractmethods__))\n"
    )
    bases, facts = run_page(tmp_path, "mixin.py", "scheduler.py", then=then).splitlines()
    assert bases.split()[:4] == [
        "page.MyScheduler",
        "page.MyWorkspaceMixin",
        "topcoat.workspace.api.WorkspaceMixin",
        "topcoat.schedulers.api.Scheduler",
    ]
    assert facts == "True ['_cancel_existing', '_submit_dryrun', 'describe', 'list', 'schedule']"


def test_the_completed_scheduler_builds_through_the_runner(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    report = run_completed(tmp_path, str(tmp_path / "code"), "artifact_bucket=bucket")

    assert report["handle"] == "my_backend://session/demo_0"
    assert report["second"] == "my_backend://session/demo_1"
    assert report["env"] == {
        "worker": "s3://bucket/worker/workspace.tar.gz",
        "server": "s3://bucket/server/workspace.tar.gz",
        "reader": None,
    }
    # One call for each role that has a workspace, the last for the second run's workspace=.
    assert report["builds"] == ["worker", "server", "worker"]
    assert report["caches"] == 1
    assert report["authored"] == [{}, {}, {}]
    assert report["state"] == "SUCCEEDED"
    assert report["listed"] == [report["handle"], report["second"]]
    assert report["options"] == ["artifact_bucket"]
    assert report["built_in"] is False


def test_the_completed_scheduler_requires_its_bucket_before_it_builds(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    report = run_completed(tmp_path, str(tmp_path / "code"), "")
    assert report == {
        "error": "the run option 'artifact_bucket' is required: S3 bucket for workspace artifacts",
        "builds": 0,
        "submitted": 0,
    }
