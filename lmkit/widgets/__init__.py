"""What people touch in a notebook: the configurator, the monitor, and how runs show themselves."""

import contextvars

CELL = contextvars.copy_context()
"""In which a thread speaks to pages: that of the cell which came here first.

ipykernel (7.4) takes what any other thread tells for said in the shell of the kernel that was asked something last, and
hands the page's answers to that shell, even once it is gone: a page that is loaded again has one for a moment.
"""
