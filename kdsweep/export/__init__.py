"""The export of a study as files: ``python -m kdsweep.export study=NAME``."""
