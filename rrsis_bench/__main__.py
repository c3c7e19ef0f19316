"""`python -m rrsis_bench` is `rrsis-bench`."""

import sys

from rrsis_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
