"""Reports are kept as they were made: what they tell of is not here, so nbval does not execute them."""

collect_ignore_glob = ["*.ipynb"]
