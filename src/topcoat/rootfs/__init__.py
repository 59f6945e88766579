"""The file system of an image, read from its layers."""
