"""The checks every method must pass, whoever wrote it: `rrsis-bench methods check NAME`.

They run on a small variant with random weights, so they need neither downloads nor a GPU. `network.py` checks what the
method is made of, `outputs.py` what it answers, `training.py` how it learns; `checks.py` runs them.
"""

from rrsis_bench.methods.contract.checks import CHECKS, Check, check_method, run_check, run_checks
from rrsis_bench.methods.contract.subject import Subject, random_batch

__all__ = ["CHECKS", "Check", "Subject", "check_method", "random_batch", "run_check", "run_checks"]
