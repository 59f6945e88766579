"""The image model: digests, descriptors, references, manifests. Values only, no input or output."""
