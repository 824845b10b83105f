"""Measurements of one variant: time, memory, energy, and what the machine can do at best."""
