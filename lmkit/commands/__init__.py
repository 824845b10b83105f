"""The command line and the magics: one table of verbs, two ways to type them."""
