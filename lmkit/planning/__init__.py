"""The plan: what an experiment takes before it is begun, in memory, arithmetic, storage and time, and whether it fits.

experiment ──> layers ──> counting      parameters, products, what is kept for the way back
                             │
    calibration (cached) ────┤          how fast this machine multiplies, and what the framework takes itself
    device               ────┤          how much memory is free
                             ▼
                           Plan ──> remedies, sharding
"""
