"""Checks too long for every test run. `make evidence [NAME=...]` runs them and commits-worthy results land in
evidence/<name>.{md,json}, each with its command, commit, machine, versions and date."""
