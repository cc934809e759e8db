"""What all tests need of the process that they run in."""

import signal

# What a shell starts in the background ignores Ctrl-C, and under nohup the end of its terminal. Programs that
# tests start would take that over, and then not end as a user's do.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
