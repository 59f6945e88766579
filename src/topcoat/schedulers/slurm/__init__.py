"""Jobs of a Slurm cluster: ``slurm``."""
