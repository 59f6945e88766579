"""The file system of an image, read back from its layers."""
