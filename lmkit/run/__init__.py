"""Runs: started, found, watched and controlled through their folders."""
