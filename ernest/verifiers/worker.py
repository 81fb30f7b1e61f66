"""The process of a user's verifier: `python -m ernest.verifiers.worker MODULE:FUNCTION DESCRIPTOR`, started by
`ernest.verifiers.own`.

It loads the function, says whether that went well, and answers every (record, output) of its connection with a verdict, or with a
line that says why there is none.
"""

import os
import sys
import threading
import time
from multiprocessing.connection import Connection

from ernest.storage import fingerprint
from ernest.verifiers.own import load_function, source_file
from ernest.verifiers.verdict import one_line, plain_verdict


def main(name: str, descriptor: int) -> None:
    """Serves until the connection closes. Not the kernel but a thread sees to it that the process ends with its parent: the
    kernel would end it with the thread that started it."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    sys.path.insert(0, os.getcwd())  # for the user's function, now that all of Ernest's is loaded
    with Connection(descriptor) as connection:
        try:
            function = load_function(name)
        except Exception as error:
            connection.send((one_line(error), None))
            return
        connection.send((None, fingerprint(source_file(name))))
        while True:
            try:
                record, output = connection.recv()
            except (EOFError, ConnectionError):
                return
            try:
                answer = plain_verdict(function(record, output))
            except Exception as error:
                answer = one_line(error)
            connection.send(answer)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
