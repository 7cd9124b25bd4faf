"""Carries a sweep out: ``run`` joins driver, backend, live view and mirror; ``driver`` talks to the backends.

Nothing is imported here: a slot on another machine should not load what only the driver process needs.
"""
