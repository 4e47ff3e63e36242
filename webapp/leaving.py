"""Ends a process whose threads may still be computing.

At the interpreter's end Python stops a daemon thread where it next asks for the interpreter's lock, by unwinding its
stack. A thread that comes back from C++ which must not be unwound, such as torch's, then aborts the whole process.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with this status, after what is registered for its end, without waiting for daemon threads."""
    if any(thread.daemon for thread in threading.enumerate()):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
