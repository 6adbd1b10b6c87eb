"""What a trial costs: kdsweep beside the plain loop that it replaces, in one interleaved run."""
