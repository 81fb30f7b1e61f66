"""`python -m benchmarks`: measures the unified model's training speed, beside the machine's own rate."""

from benchmarks.model.parts import WING
from benchmarks.runner import main

if __name__ == "__main__":
    main(WING)
