"""What people touch in a notebook: the configurator, the monitor, and how runs show themselves."""
