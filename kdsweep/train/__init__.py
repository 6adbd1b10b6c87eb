"""Training: the one loop, its populations, and the networks that are trained once."""
