"""Run options as text, parsed by TorchX and by topcoat.

The newest TorchX is the reference: topcoat parses the same text into the same values and refuses the same text, always
with ``InvalidRunConfigException``. ``DIFFERENT`` lists the exceptions, with the reason.
"""

from __future__ import annotations

import logging
import typing
from pathlib import Path
from typing import Any

import pytest

from tests.components.peers import TorchX
from topcoat.errors import InvalidRunConfigException
from topcoat.specs import runopts

REFUSED = "refused"

CORPUS = [
    # pairs
    "", "text=v1", "text=v1,other=v2", "text=v1;other=v2", " text = v1 , other = v2 ", "text=a b", "text=a:b",
    "num=1,rate=2,flag=true,text=z", "text=v1,", "text=v1;", "text=v1,,other=v2", "text=a\nb", "text=é",
    "mail-user=me@x.org", "mail-user=me@x.org,num=1", "job_dir=/a/b c", "text=s3://b/k?x", "text=${x}", "text=None",
    # unknown options
    "nope=1", "nope=1,text=2",
    # what belongs to a value
    "text=v1,v2", "text=v1;v2", "text=v1,v2,other=v3", "text=v1;v2;other=v3", "text=[1,2]", "text=a\\,b",
    # lists
    "hosts=a", "hosts=a,b,c", "hosts=a;b;c", "hosts=a,b,text=x", "hosts=a;b,text=x", "hosts=a;b;text=x", "hosts=a,",
    "hosts=a,,b", "hosts=[a,b]", "hosts=None",
    # mappings
    "env=A:1", "env=A:1,B:2", "env=A:1;B:2", "env=A:1,B:2,text=x", "env=A:1;B:2;text=x;num=3", "env=A:http://h:80/p",
    "env=A:", "env=A", "env=None",
    # numbers
    "num=3", "num=-3", "num=007", "num=1_000", "num= 3", "num=0x10", "num=1.5", "num=x", "num=None", "rate=1.5",
    "rate=1", "rate=1e3", "rate=inf", "rate=x",
    # yes and no
    "flag=true", "flag=True", "flag=TRUE", "flag=1", "flag=yes", "flag=on", "flag=false", "flag=0", "flag=no",
    "flag=off", "flag=y", "flag=maybe",
    # quotes
    "text='a=b'", 'text="a,b"', "text='a,b',other=c", "text='a;b'", "text=\"a=b,c=d\",other=x", "text=don't",
    "text='',other=x", "env='A:1,B:2'",
    # other spellings
    "jobDir=/a",
    # no pairs
    "text=", "flag=", "text=,other=1", "text", "text,other=1", "=1", "text=a=b", "text=a=b,other=c", ",text=v1", "nope",
    "text=http://h/?a=1",
]  # fmt: skip

DIFFERENT: dict[str, tuple[object, str]] = {
    "text=1,text=2": (REFUSED, "it is unclear which value is meant"),
    "hosts='a,b',c": ({"hosts": ["a,b", "c"]}, "quotes protect the items of a list too"),
    "env=A:'x,y',B:2": ({"env": {"A": "x,y", "B": "2"}}, "and those of a mapping"),
    "env=:1": (REFUSED, "a variable without a name"),
}
"""Intended differences from the newest TorchX: topcoat's result and the reason."""

OF_0_7 = {
    *("flag=1", "flag=yes", "flag=on"),  # silently False
    *("flag=y", "flag=maybe"),  # the same, where it now refuses
    *("text='a=b'", 'text="a,b"', "text='a,b',other=c", "text='a;b'", 'text="a=b,c=d",other=x'),
    "env='A:1,B:2'",  # quotes are letters
    "jobDir=/a",  # one spelling only
    *("nope=1", "nope=1,text=2", "text,other=1", ",text=v1"),  # unknown options are a warning
}
"""What TorchX 0.7.0 reads otherwise than the newest; here topcoat follows the newest."""

_PROGRAM = """
import json, logging, sys, typing
from torchx.specs import runopts
logging.disable()
answers = []
texts, declared = json.load(sys.stdin)
opts = runopts()
for name, type_ in declared.items():
    opts.add(name, type_=eval(type_), help="x")
for text in texts:
    try:
        answers.append(opts.cfg_from_str(text))
    except Exception:
        answers.append("refused")
print(json.dumps(answers))
"""

_DECLARED = {
    "text": "str",
    "other": "str",
    "num": "int",
    "rate": "float",
    "flag": "bool",
    "hosts": "typing.List[str]",
    "env": "typing.Dict[str, str]",
    "mail-user": "str",
    "job_dir": "str",
}


def _ours(text: str) -> object:
    opts = runopts()
    for name, type_ in _DECLARED.items():
        opts.add(name, type_=eval(type_, {"typing": typing}), help="x")
    try:
        return opts.cfg_from_str(text)
    except InvalidRunConfigException:
        return REFUSED


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "topcoat.specs")


def _theirs(torchx: TorchX, directory: Path, texts: list[str]) -> dict[str, Any]:
    return dict(zip(texts, torchx.ask(_PROGRAM, [texts, _DECLARED], directory), strict=True))


def test_topcoat_reads_run_options_as_the_newest_torchx_does(torchx_newest: TorchX, tmp_path: Path) -> None:
    assert {text: _ours(text) for text in CORPUS} == _theirs(torchx_newest, tmp_path, CORPUS)


def test_topcoat_reads_run_options_as_the_last_release_does_except_for_listed_changes(
    torchx_release: TorchX, tmp_path: Path
) -> None:
    theirs = _theirs(torchx_release, tmp_path, CORPUS)
    assert {text for text in CORPUS if _ours(text) != theirs[text]} == OF_0_7


def test_each_listed_difference_from_torchx_exists(torchx_newest: TorchX, tmp_path: Path) -> None:
    theirs = _theirs(torchx_newest, tmp_path, list(DIFFERENT))
    for text, (expected, _why) in DIFFERENT.items():
        assert _ours(text) == expected, text
        assert theirs[text] != expected, text
