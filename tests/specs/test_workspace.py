from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from topcoat.specs import Workspace


def test_truth_equality_and_hash_depend_on_the_projects() -> None:
    one, same = Workspace({"/a": "x", "/b": ""}), Workspace({"/b": "", "/a": "x"})
    assert one == same
    assert hash(one) == hash(same)
    assert one != Workspace({"/a": "y", "/b": ""})
    assert one
    assert not Workspace({})
    assert {one: 1}[same] == 1


def test_a_single_project_without_a_target_is_unmapped() -> None:
    assert Workspace({"/a": ""}).is_unmapped_single_project()
    assert not Workspace({"/a": "x"}).is_unmapped_single_project()
    assert not Workspace({"/a": "", "/b": ""}).is_unmapped_single_project()
    assert not Workspace({}).is_unmapped_single_project()


def test_a_workspace_is_printed_as_paths_and_targets() -> None:
    assert str(Workspace({"/a": ""})) == "/a"
    assert str(Workspace({"/a": "x", "/b": ""})) == "/a:x;/b"
    assert str(Workspace({})) == ""


def test_merge_into_copies_if_only_topcoat_specs_is_imported(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text("print(1)")
    program = "import sys; from topcoat.specs import Workspace; Workspace({sys.argv[1]: 'app'}).merge_into(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "code"), str(tmp_path / "out")], check=True)
    assert (tmp_path / "out/app/main.py").read_text() == "print(1)"
