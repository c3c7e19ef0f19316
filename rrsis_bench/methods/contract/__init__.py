"""The contract of all methods, as checks: `rrsis-bench methods check NAME`.

The checks run on a small variant with random weights, without downloads and without a GPU. `checks.py` runs them.
`registered.py` checks the configuration and the weights of a registered method, `network.py` the network and its
parameters. `outputs.py` checks the logits, `training.py` the losses, `device.py` what a GPU would refuse.
"""

from rrsis_bench.methods.contract.checks import CHECKS, Check, check_method, run_check, run_checks
from rrsis_bench.methods.contract.subject import Subject, random_batch

__all__ = ["CHECKS", "Check", "Subject", "check_method", "random_batch", "run_check", "run_checks"]
