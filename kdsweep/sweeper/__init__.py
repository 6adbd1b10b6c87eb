"""Sweeps: the sweeper, the launcher, the Optuna study, and what is said at the end."""
