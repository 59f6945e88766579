"""From a snapshot to code layers: cut into groups of entries, each packed as a deterministic tar."""
