"""The process that makes rollouts: `python -m ernest.rl.worker CONNECTION WEIGHTS PARENT`, started by `ernest.rl.samplers`.

It is told the sizes of the network, the threads and the folder of the tokenizers, and then one phase after the other, whose
weights lie in the mapped file; it ends with its parent, or when the connection does.
"""

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from ernest.device import set_threads
from ernest.rl.messages import answer_message, blank_network, map_weights, read_weights
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.launch import end_with_parent


def main(descriptor: int, weights: int, parent: int) -> None:
    """Serves until the connection closes."""
    end_with_parent(parent)
    with Connection(descriptor) as connection, os.fdopen(weights, "rb") as file:
        try:
            config, spec, threads, folder = connection.recv()
            set_threads(threads)
            model, tokenizers, mapped = blank_network(config, spec), Tokenizers.load(Path(folder)), map_weights(file, "r")
            while True:
                message = connection.recv()
                read_weights(model, mapped)
                connection.send(answer_message(message, model, tokenizers))
        except (EOFError, ConnectionError):
            return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
