"""Proves an installation on this machine's GPU: `gfjobs doctor --gpu`, without an installation.

    python -m tests.gpu [--cpu] [--runtime NAME] [--json FILE]

Needs torch and the core dependencies; Ray and gfjobs itself need not be installed.
"""

import sys

from jobs.cli import main

if __name__ == "__main__":
    main(["doctor", "--gpu", *sys.argv[1:]])
