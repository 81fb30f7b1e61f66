"""A user's verifier for tests: does what the facts of a record say."""

import os
import time

import numpy as np

from ernest.verifiers.verdict import Verdict

PROCESS = os.getpid()


def judge(record, output):
    match record.facts["do"]:
        case "judge":
            return Verdict(float(len(output[0].data)) / 10, True, f"process {PROCESS}", {"length": 1.0})
        case "numpy and torch":
            import torch  # slow, and needed by this case alone

            return Verdict(torch.tensor(0.25, requires_grad=True), np.True_, "", {"a": np.float32(0.5), "b": np.True_})
        case "sleep":
            time.sleep(60)
        case "raise":
            raise RuntimeError("no idea\nat all")
        case "exit":
            os._exit(3)
        case "score":
            return Verdict(float("nan"), True)
        case "passed":
            return Verdict(1.0, "yes")
        case "parts":
            return Verdict(1.0, True, "", {"a": 7.0})
        case _:
            return 0.7


async def later(record, output):
    return Verdict(1.0, True)


def no_function_of_two():
    return None


NUMBER = 3
