"""The machine: device, precision, memory layout, threads."""
