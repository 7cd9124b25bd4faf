"""The report of a sweep that still runs, served on loopback and made anew as its ledger grows.

``follow`` reads the ledger as it is written, ``document`` puts what goes on now before the report, ``page``
keeps the page and decides when it is made again, and ``server`` gives it to browsers of this machine. Nothing
is ever written into the sweep's folder.
"""
