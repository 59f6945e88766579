"""What an image is made of: options, tag, and the plan of a patch or a Dockerfile."""
