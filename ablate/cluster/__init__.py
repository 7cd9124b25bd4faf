"""Clusters by file: bring one up, run sweeps on it, look at them, take it down.

A file says of itself what it is: a Ray launcher file (`ray up`: AWS, GCP, SSH), a RayJob for Kubernetes, or a
Slurm script. Each is used as it is by its own tool; nothing here is needed to run it by hand.
"""
