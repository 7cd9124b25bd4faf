"""Checks too long for every test run. `make evidence [NAME=...]` runs them and writes their results, to be
committed, to evidence/<name>.{md,json}, each with its command, commit, machine, versions and date."""
