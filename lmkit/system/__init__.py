"""Files, processes, environment: what the operating system gives."""
