"""A user's verifier for tests: does what the facts of a record say."""

import os
import time

from ernest.verifiers.verdict import Verdict

PROCESS = os.getpid()


def judge(record, output):
    match record.facts["do"]:
        case "judge":
            return Verdict(float(len(output[0].data)) / 10, True, f"process {PROCESS}", {"length": 1.0})
        case "sleep":
            time.sleep(60)
        case "raise":
            raise RuntimeError("no idea\nat all")
        case "exit":
            os._exit(3)
        case "score":
            return Verdict(float("nan"), True)
        case "passed":
            return Verdict(1.0, "yes")  # type: ignore[arg-type]
        case "parts":
            return Verdict(1.0, True, "", {"a": 7.0})
        case _:
            return 0.7


def no_function_of_two():
    return None


NUMBER = 3
