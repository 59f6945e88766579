from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str, *path: Path) -> str:
    """Run *code* in a process of its own, with *path* importable, and return what it prints."""
    prelude = f"import sys\nsys.path[:0] = {[str(directory) for directory in path]!r}\n"
    done = subprocess.run([sys.executable, "-c", prelude + code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


INSTALL = "import topcoat\ntopcoat.install_as_torchx()\n"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("torchx.specs", "topcoat.specs"),
        ("torchx.specs.api", "topcoat.specs"),
        ("torchx.specs.builders", "topcoat.specs.builders"),
        ("torchx.specs.finder", "topcoat.components.finder"),
        ("torchx.specs.named_resources_aws", "topcoat.specs.named_resources_aws"),
        ("torchx.workspace", "topcoat.workspace"),
        ("torchx.workspace.api", "topcoat.workspace.api"),
        ("torchx.schedulers", "topcoat.schedulers"),
        ("torchx.schedulers.api", "topcoat.schedulers.api"),
        ("torchx.schedulers.ids", "topcoat.schedulers.ids"),
        ("torchx.schedulers.local_scheduler", "topcoat.schedulers.local_scheduler"),
        ("torchx.schedulers.docker_scheduler", "topcoat.schedulers.docker_scheduler"),
        ("torchx.schedulers.slurm_scheduler", "topcoat.schedulers.slurm_scheduler"),
        ("torchx.schedulers.aws_batch_scheduler", "topcoat.schedulers.aws_batch_scheduler"),
        ("torchx.runner", "topcoat.runner"),
        ("torchx.runner.config", "topcoat.runner.config"),
        ("torchx.components", "topcoat.components"),
        ("torchx.components.utils", "topcoat.components.utils"),
        ("torchx.components.dist", "topcoat.components.dist"),
    ],
)
def test_a_module_of_torchx_is_the_module_of_topcoat(theirs: str, ours: str) -> None:
    code = (
        f"import importlib, {theirs}\n"
        f"import {ours}\n"
        f"module = importlib.import_module({theirs!r})\n"
        f"assert module is {ours} is {theirs}, module\n"
        f"assert module.__name__ == module.__spec__.name == {ours!r}, module.__spec__\n"
    )
    run(INSTALL + code)


def test_the_modules_of_the_schedulers_have_torchxs_names() -> None:
    run(
        INSTALL
        + "from torchx.schedulers.local_scheduler import LocalScheduler, PopenRequest, ReplicaParam, create_scheduler\n"
        + "from torchx.schedulers.docker_scheduler import DockerContainer, DockerJob, DockerScheduler\n"
        + "from torchx.schedulers.slurm_scheduler import SlurmBatchRequest, SlurmOpts, SlurmReplicaRequest\n"
        + "from torchx.schedulers.slurm_scheduler import SLURM_STATES, SlurmScheduler, create_scheduler\n"
        + "from torchx.schedulers.slurm_scheduler import appstate_from_slurm_state, get_appstate_from_job\n"
    )


def test_each_form_of_import_finds_the_same_objects() -> None:
    run(
        INSTALL
        + "import torchx, torchx.specs as a\n"
        + "from torchx import specs as b\n"
        + "from torchx.specs import Role, runopts\n"
        + "from torchx.specs.api import Role as role2\n"
        + "import topcoat.specs\n"
        + "assert a is b is torchx.specs is topcoat.specs\n"
        + "assert Role is role2 is topcoat.specs.Role and runopts is topcoat.specs.runopts\n"
    )


def test_submodules_can_be_reached_from_the_top_without_an_import() -> None:
    run(INSTALL + "import torchx\nassert torchx.components.__name__ == 'topcoat.components'\n")


def test_the_top_has_torchx_s_version_and_image() -> None:
    output = run(
        "import os\nos.environ['TOPCOAT_IMAGE'] = 'repo/x:1'\n"
        + INSTALL
        + "import torchx, topcoat\nprint(torchx.IMAGE, torchx.__version__ == topcoat.__version__)\n"
        + "from torchx.version import __version__\nprint(__version__ == topcoat.__version__)\n"
    )
    assert output.split() == ["repo/x:1", "True", "True"]


def test_installing_imports_nothing_and_can_be_done_twice() -> None:
    output = run(
        INSTALL
        + "before = len(sys.meta_path)\ntopcoat.install_as_torchx()\n"
        + "print(len(sys.meta_path) - before, [name for name in sys.modules if name.startswith('torchx')])\n"
        + "print('topcoat.specs' in sys.modules)\n"
    )
    assert output.splitlines() == ["0 []", "False"]


@pytest.mark.parametrize("name", ["torchx.tracker", "torchx.specs.nope", "torchx.util.types", "torchx.components.a.b"])
def test_a_module_that_topcoat_lacks_is_an_import_error_that_says_so(name: str) -> None:
    output = run(
        INSTALL + f"try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    print(error.name, '|', error)\n"
    )
    assert output.startswith("torchx.")
    assert "does not exist in topcoat" in output


def test_the_error_for_a_package_that_topcoat_does_not_serve_says_what_it_is() -> None:
    output = run(
        INSTALL + "try:\n    import torchx.tracker.api\nexcept ModuleNotFoundError as error:\n    print(error)\n"
    )
    assert "topcoat does not serve experiment trackers" in output
    assert "pip install torchx" in output


@pytest.mark.parametrize("name", ["runopts", "macros", "resource", "named_resources"])
def test_a_module_of_ours_never_takes_the_place_of_the_export_of_its_name(name: str) -> None:
    run(
        INSTALL
        + f"import topcoat.specs\nexport = topcoat.specs.{name}\n"
        + f"try:\n    import torchx.specs.{name}\nexcept ModuleNotFoundError as error:\n    print(error)\n"
        + f"assert topcoat.specs.{name} is export\n"
        + f"from torchx.specs import {name}\nassert {name} is export\n"
    )


def test_an_attribute_without_counterpart_is_an_error_that_says_so() -> None:
    code = "import torchx\ntry:\n    torchx.nope\nexcept AttributeError as error:\n    print(error)\n"
    assert "'nope': it is topcoat, imported as torchx" in run(INSTALL + code)


def test_the_real_torchx_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "torchx").mkdir()
    (tmp_path / "torchx/__init__.py").write_text("REAL = True\n")
    code = (
        "import topcoat\n"
        "try:\n    topcoat.install_as_torchx()\n"
        "except topcoat.errors.TorchXInstalled as error:\n    print(error, '|', error.hint)\n"
        "import torchx\nassert torchx.REAL\n"
    )
    output = run("import topcoat.errors\n" + code, tmp_path)
    assert "TorchX is installed, and" in output
    assert "pip uninstall torchx" in output


def test_a_directory_that_is_merely_called_torchx_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "torchx").mkdir()
    run(INSTALL + "import torchx.specs\nassert torchx.specs.Role\n", tmp_path)


def test_names_under_the_alias_can_be_pickled_and_copied() -> None:
    run(
        INSTALL
        + "import pickle, copy\nfrom torchx.specs import Role, Workspace\n"
        + "role = Role('a', 'b', workspace=Workspace({'x': 'y'}))\n"
        + "assert pickle.loads(pickle.dumps(role)) == copy.deepcopy(role) == role\n"
    )
