"""OpenAI's own client against a server on a real socket: the installed one, and an older one from a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="needs OpenAI's client, which the extra `dev` brings")

from tests.serve.openai_client import CHECKS, client_of

OLDER = os.environ.get("ERNEST_OLDER_OPENAI")
"""A folder made by `pip install --target FOLDER openai==2.54.0`."""


@pytest.fixture(scope="module")
def client(server):
    with client_of(server.url) as client:
        yield client


@pytest.mark.parametrize("what", CHECKS)
def test_what_the_client_does(client, server, what):
    CHECKS[what](client)
    server.wait_until_idle()


@pytest.mark.skipif(OLDER is None, reason="ERNEST_OLDER_OPENAI names no folder with an older client")
def test_the_client_before(server):
    """In a process of its own, since one process holds one client."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("openai_client.py")), server.url],
        env=os.environ | {"PYTHONPATH": str(OLDER)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("openai 2.")
