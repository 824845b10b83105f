"""Plans: the memory, arithmetic, storage and time that an experiment needs, before training, and whether it fits.

experiment ──> layers ──> counting      parameters, operations, activations saved for the backward pass
                             │
    calibration (cached) ────┤          speed of this machine, and memory of the framework itself
    device               ────┤          available memory
                             ▼
                           Plan ──> suggestions, sharding
"""
