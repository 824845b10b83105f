"""What a model looks at: attributions, importance and dependence, in the columns and units of the data."""
