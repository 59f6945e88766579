"""Count the bytes of transfers, for whoever shows them: pushes, loads, pulls and copies, of the whole process."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_lock = allocate_lock()
_counts: dict[str, list[int]] = {}
_MAX_LAYERS = 1000


class Transfer(NamedTuple):
    """How far a transfer is.

    Attributes:
        action: such as ``pushing``.
        done: bytes so far.
        total: bytes that are expected so far, at least *done*; a later part of the transfer adds to them.
    """

    action: str
    done: int
    total: int


def expect(action: str, size: int) -> None:
    """Add to the bytes that *action* will transfer."""
    with _lock:
        _counts.setdefault(action, [0, 0])[1] += size


def advance(action: str, size: int) -> None:
    """Add to the bytes that *action* has transferred."""
    with _lock:
        _counts.setdefault(action, [0, 0])[0] += size


def transfers() -> list[Transfer]:
    """Return the transfers since the last `forget_transfers`."""
    with _lock:
        return [Transfer(action, done, max(done, total)) for action, (done, total) in _counts.items()]


def forget_transfers() -> None:
    """Begin to count again."""
    with _lock:
        _counts.clear()


def counted(action: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *blocks*, counted."""
    for block in blocks:
        yield block
        advance(action, len(block))


def count_layers(action: str, lines: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the *lines* that a container engine reports, and count the bytes of layers in them."""
    layers: dict[str, int] = {}
    for line in lines:
        detail, layer = line.get("progressDetail"), str(line.get("id"))
        is_transfer = line.get("status") in ("Downloading", "Pushing")
        if is_transfer and isinstance(detail, dict) and (layer in layers or len(layers) < _MAX_LAYERS):
            done, total = detail.get("current"), detail.get("total")
            if isinstance(done, int) and isinstance(total, int) and total > 0:
                if layer not in layers:
                    layers[layer] = 0
                    expect(action, total)
                advance(action, max(0, done - layers[layer]))
                layers[layer] = max(done, layers[layer])
        yield line
