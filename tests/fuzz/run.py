"""Run a target under the coverage-guided fuzzer: ``python -m tests.fuzz.run TARGET DIRECTORY [LIBFUZZER FLAGS]``.

New inputs are written to DIRECTORY, one that fails to the directory named by ``-artifact_prefix``.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    with atheris.instrument_imports(include=["topcoat"]):
        from tests.fuzz.targets import TARGETS
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
