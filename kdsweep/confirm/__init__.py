"""The confirmation of a study: ``python -m kdsweep.confirm study=NAME``."""
