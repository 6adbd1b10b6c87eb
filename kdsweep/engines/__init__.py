"""Where populations train: in this process, in processes of this machine, on other machines.

An engine takes a population (``Task``) and promises what its members will have come to. What it
trains with is one loop everywhere (``population.train_population``); engines differ in where that
runs. Only the one that is chosen is imported.
"""

from kdsweep.engines.engine import Engine, Task
from kdsweep.engines.networks import PopulationSpec

__all__ = ["Engine", "PopulationSpec", "Task"]
