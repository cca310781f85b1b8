"""`python -m init`, and the console script pyinit."""

import os
import sys


def main() -> None:
    """Run pyinit on this process's command line and environment."""
    from init.cli import run
    from init.process import hold_standard_streams

    hold_standard_streams()
    # os._exit skips the interpreter's clean-up, which a pod would wait for; all output is unbuffered.
    os._exit(run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
