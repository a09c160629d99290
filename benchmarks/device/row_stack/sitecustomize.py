"""numba-cuda 0.30 asks numpy for a name that numpy 2.5 dropped; for this run's processes it is there again."""

import numpy

if not hasattr(numpy, "row_stack"):
    setattr(numpy, "row_stack", numpy.vstack)  # noqa: B010 - a name that checkers know as gone
