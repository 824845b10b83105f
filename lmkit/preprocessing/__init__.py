"""Preprocessing: fitted on the training part and applied to new rows. It needs NumPy alone."""
