"""A trained student to hand over: ``python -m kdsweep.package study=NAME``."""
