"""The verbs: ``lmkit pause last`` on a command line, ``%lmkit pause last`` in a notebook.

Each takes the same arguments in both places and calls the public function of the same name. The command line prints
the result, the magic returns it. A new verb is one decorated function in one of these modules, or a module of its own
and a line here.
"""

# isort: off
from lmkit.commands import experiments as experiments  # the order of the help
from lmkit.commands import notebooks as notebooks
from lmkit.commands import runs as runs
from lmkit.commands import explanations as explanations
from lmkit.commands import analysis as analysis
from lmkit.commands import deployment as deployment
from lmkit.commands import surfaces as surfaces
from lmkit.commands import finders as finders
from lmkit.commands.verb import VERBS as VERBS
from lmkit.commands.verb import Verb as Verb
