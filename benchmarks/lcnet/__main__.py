"""`python -m benchmarks.lcnet`: measures the parts of this wing."""

from benchmarks.lcnet.parts import WING
from benchmarks.runner import main

if __name__ == "__main__":
    main(WING)
