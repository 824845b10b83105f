"""Notebook widgets: the configurator, the monitor, live tables, and the display of runs."""

import contextvars

CELL = contextvars.copy_context()
"""The context in which threads send messages to pages: the context of the cell that imported this package.

ipykernel (7.4) attributes messages of other threads to the subshell of the last request, and delivers replies of the
page there, even after that subshell has ended; a reloaded page has a subshell for a moment.
"""
