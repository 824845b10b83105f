"""Sweeps: one notebook executed for many parameter sets, each trial a notebook and a run; the folder is the truth."""
