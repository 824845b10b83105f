"""Methods of explanation: one file each, found through ``METHODS``."""
