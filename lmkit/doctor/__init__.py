"""The doctor: what is wrong with a run, with the evidence and a change that may mend it. It reads the run's folder."""
