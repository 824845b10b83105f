"""The notebook in the sweep's folder is data, not a test."""

collect_ignore = ["sweep_folders", "run_folders", "bundle"]
