"""Where roles run: base images are read from a registry in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_bases import add_base
from topcoat.errors import InvalidApp, InvalidRunConfigException
from topcoat.runner import get_runner
from topcoat.schedulers.slurm.images import RoleImages
from topcoat.schedulers.slurm.site import LocalSite
from topcoat.specs import AppDef, CfgVal, Role
from topcoat.testing.registry import FakeRegistry


def workdir(image: str, **cfg: CfgVal) -> str:
    return RoleImages(LocalSite(), {"container": "pyxis", **cfg}).workdir(Role("r", image))


def test_the_directory_of_the_code_is_the_workdir_of_the_base() -> None:
    with FakeRegistry() as registry:
        add_base(registry)
        image = f"{registry.host}/base:1"
        in_base = workdir(image)
        assert in_base.startswith("/")
        assert in_base != "/"
        assert workdir(image, workspace_dir="/code/") == "/code"


def test_a_file_has_no_config_to_read() -> None:
    assert workdir("/images/base.sqsh") == "/workspace"
    assert workdir("nvcr.io#nvidia/pytorch:24.01-py3") == "/workspace"


@pytest.mark.parametrize("directory", ["code", "/", "/.."])
def test_the_code_cannot_be_mounted_anywhere(directory: str) -> None:
    with pytest.raises(InvalidRunConfigException, match="invalid workspace_dir"):
        workdir("/images/base.sqsh", workspace_dir=directory)


def test_a_container_needs_an_image() -> None:
    with pytest.raises(InvalidApp, match="the role r has no image"):
        workdir("")


@pytest.mark.parametrize("path", ["relative", "/no/such/bundle"])
def test_an_image_that_is_no_bundle_is_refused(path: str) -> None:
    with pytest.raises(InvalidApp, match=r"bundle|not an absolute path"):
        workdir(path, container="oci")


def test_with_a_directory_the_image_stays_and_the_snapshot_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    role = Role("r", "/images/base.sqsh", entrypoint="python", args=["train.py"])
    cfg = {"container": "pyxis", "job_root": str(tmp_path.with_name("jobs"))}
    with get_runner() as runner:
        info = runner.dryrun(AppDef("a", [role]), "slurm", cfg, str(tmp_path))
    assert info.app is not None
    made = info.app.roles[0]
    assert made.image == "/images/base.sqsh"
    (mount,) = made.mounts
    assert mount.dst_path == made.env["WORKSPACE_DIR"] == "/workspace"
    assert made.env["PYTHONPATH"].startswith("/workspace")
    assert "mounted at /workspace" in info.workspace_plan.lines()[0]  # type: ignore[union-attr]


@pytest.mark.parametrize("container", ["none", "oci"])
def test_images_need_a_runtime_that_runs_images(container: str, tmp_path: Path) -> None:
    app = AppDef("a", [Role("r", "base:1", entrypoint="true")])
    cfg = {"workspace_type": "docker", "container": container, "image_repo": "localhost:1/x"}
    with get_runner() as runner, pytest.raises(InvalidRunConfigException, match="the nodes run no image of a registry"):
        runner.dryrun(app, "slurm", cfg, str(tmp_path))


def test_an_image_is_submitted_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    with FakeRegistry() as registry, get_runner() as runner:
        add_base(registry)
        app = AppDef("a", [Role("r", f"{registry.host}/base:1", entrypoint="true")])
        cfg: dict[str, CfgVal] = {
            "workspace_type": "docker",
            "container": "pyxis",
            "image_repo": f"{registry.host}/patched",
            "job_root": str(tmp_path.with_name("jobs")),
        }
        info = runner.dryrun(app, "slurm", cfg, str(tmp_path))
        planned = info.request.roles[0].srun_opts["container-image"]
        assert planned.startswith(f"{registry.host}#patched:")
        delivered = info.deliver()
        info.app.roles[0].image = delivered["r"].image  # type: ignore[union-attr]
        runner._scheduler("slurm").update_request(info, delivered)
        image = info.request.roles[0].srun_opts["container-image"]
        assert image == f"{registry.host}#patched:{delivered['r'].image.partition('@')[2]}"
        assert "container-mounts" in info.request.roles[0].srun_opts
