"""For all tests: Ctrl-C is heard."""

from __future__ import annotations

import signal

# A script's `make test &` starts us with Ctrl-C ignored, and what the tests start and interrupt would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
