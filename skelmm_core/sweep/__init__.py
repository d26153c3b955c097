"""Grids of stages or notebooks as independent jobs, on this machine's processes and GPUs or on a Slurm cluster."""
