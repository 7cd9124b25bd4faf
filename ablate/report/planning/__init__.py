"""The parts of a plan (``ablate.report.plan``): pilots, costs, the design and what it can conclude."""
