"""The code layers of one scan: planned, packed when they are needed, and spooled while they wait."""

from __future__ import annotations

from collections.abc import Sequence

from topcoat.pack.cut import MAX_LARGE_GROUPS, MAX_SMALL_GROUPS
from topcoat.pack.layer import Packed, PackOptions, pack
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import MAX_LAYERS, PlannedLayer, plan_layers
from topcoat.scan.scanner import Scan


class CodeLayers:
    """Plans and packs the layers of *scan*; owns the layer cache and the spool."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._cache = LayerCache()
        self._spool: dict[str, Packed] = {}

    def plan(self, options: PackOptions, base_layers: int, anchor: Sequence[str] = ()) -> list[PlannedLayer]:
        """Return the layers over a base of *base_layers* layers; see `plan_layers`."""
        room = min(MAX_SMALL_GROUPS + MAX_LARGE_GROUPS + 1, MAX_LAYERS - base_layers)
        return plan_layers(self._scan.snapshot, options, self._cache, room=room, anchor=anchor)

    def pack(self, planned: PlannedLayer, options: PackOptions) -> Packed:
        """Return *planned*, packed and at its start; release it with `release`. Errors are those of `pack`."""
        spooled = self._spool.get(planned.key)
        if spooled is not None:
            # An earlier delivery may have read it.
            spooled.blob.seek(0)
            return spooled
        packed = pack(planned.group, self._scan, options)
        self._cache.put(planned.key, planned.group, packed.layer)
        return packed

    def spool(self, planned: PlannedLayer, options: PackOptions) -> Packed:
        """Pack *planned* and keep it until `close`."""
        self._spool[planned.key] = packed = self.pack(planned, options)
        return packed

    def release(self, planned: PlannedLayer, packed: Packed) -> None:
        """Close *packed* unless it is spooled."""
        if planned.key not in self._spool:
            packed.blob.close()

    def close(self) -> None:
        """Close everything that is spooled."""
        for packed in self._spool.values():
            packed.blob.close()
        self._spool.clear()
