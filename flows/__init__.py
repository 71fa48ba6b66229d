"""The Prefect flows, one file each; what the command line calls is in local.py."""
