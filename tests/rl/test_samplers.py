"""Rollouts in a process of their own are bit for bit those of this one, whoever is killed, and whoever goes on with a run."""

import json
import os
import signal
import socket
import struct
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch
from safetensors.torch import save

from ernest.config.rl import RolloutConfig
from ernest.overrides import build
from ernest.rl import cluster, loop, messages, samplers
from ernest.rl.buffer import RolloutBuffer
from ernest.rl.cluster import RayActor
from ernest.rl.messages import blank_network, read_weights, weight_size, write_weights
from ernest.rl.packed import pack_rollouts
from ernest.rl.phase import Phase, run_phase
from ernest.rl.rollout import Response
from ernest.rl.samplers import AnotherProcess, InProcess, check_worker
from ernest.tokenizers.bundle import Tokenizers
from tests.rl.small import HALF, WARM, asks, model
from tests.rl.test_loop import equal, log_of, policy, recipe, timeless, verifier, weights
from tests.small import tokenizers


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """One process for all tests of this file: its start takes seconds."""
    sampler = AnotherProcess(model(), tokenizers(), tmp_path_factory.mktemp("run") / "sampler", 60.0)
    yield sampler
    sampler.close()


def phase(submodel=None) -> Phase:
    """Two samples of every kind, of which two prompts are to end; four run at once."""
    asked = {(n, s): Response(ask, ()) for n, ask in enumerate(asks(WARM, submodel)) for s in range(2)}
    buffer = RolloutBuffer("finish order", 2, 3, list(range(5)), [], 5, 0, 0, dict.fromkeys(range(5), 0))
    return Phase(3, 7, asked, frozenset(), buffer, 2, 4, False)


def told(rollouts):
    """All that is known of rollouts, as what `==` compares bit for bit."""
    bits = lambda value: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value
    choices = lambda one: [{name: bits(value) for name, value in vars(choice).items()} for choice in one.choices]
    made = lambda one: one.segments and [(s.kind, list(map(bits, s.value)), bits(s.bits)) for s in one.segments]
    return [(key, one.end, choices(one), made(one)) for key, one in rollouts.items()]


def test_weights_go_over_whole():
    made = model()
    bits = np.zeros(weight_size(made), np.uint8)
    write_weights(made, bits)
    other = blank_network(made.config, made.spec)
    read_weights(other, bits)
    assert equal(made.state_dict(), other.state_dict())


@pytest.mark.parametrize("submodel", [None, HALF])
def test_rollouts_of_every_kind_are_those_of_this_process(beside, submodel):
    made, asked = model(), phase(submodel)
    beside.begin(asked, made)
    found = run_phase(asked, made, tokenizers())
    assert told(beside.collect()) == told(found)
    assert any(one.end is None and one.choices for one in found.values())
    assert any(one.end is not None for one in found.values())


def test_a_process_that_is_killed_costs_time_alone(beside):
    made, asked = model(), phase()
    found = run_phase(asked, made, tokenizers())
    beside.begin(asked, made)
    killed = beside.process.pid
    os.kill(killed, signal.SIGKILL)
    with torch.no_grad():
        made.text_head.weight.zero_()  # the trainer has gone on
    assert told(beside.collect()) == told(found)
    assert beside.process.pid != killed


def test_a_process_that_hangs_is_ended_and_asked_again(beside, monkeypatch):
    """One that is stopped reads nothing and answers nothing, as one that waits for ever."""
    made, asked = model(), phase()
    found = run_phase(asked, made, tokenizers())
    beside.close()
    start = beside._start

    def start_stopped():
        """The first one, which may be silent for a moment alone."""
        monkeypatch.setattr(beside, "timeout", 0.2)
        start()
        os.kill(beside.process.pid, signal.SIGSTOP)
        monkeypatch.undo()

    monkeypatch.setattr(beside, "_start", start_stopped)
    beside.begin(asked, made)
    hanging = beside.process.pid
    assert told(beside.collect()) == told(found)
    assert beside.process.pid != hanging


def test_a_process_that_always_ends_is_told_of(monkeypatch, tmp_path):
    """And the folder that one left which was killed is taken over, and goes with the sampler."""
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler" / "text.json").write_text("half of it")
    monkeypatch.setattr("sys.executable", "/bin/false")
    sampler = AnotherProcess(model(), tokenizers(), tmp_path / "sampler", 60.0)
    assert Tokenizers.load(tmp_path / "sampler").text.merges == tokenizers().text.merges
    sampler.begin(phase(), model())
    with pytest.raises(ChildProcessError, match=r"ended, or was silent for rollout.timeout = 60 s, 4 times in one phase"):
        sampler.collect()
    del sampler
    assert not list(tmp_path.iterdir())


def test_an_answer_that_was_cut_off_is_asked_for_again(monkeypatch, tmp_path):
    """As by a process that is killed while it sends."""
    about, tensors = pack_rollouts({})
    (cut, sends_half), (whole, sends_all) = socket.socketpair(), socket.socketpair()
    with sends_half, Connection(sends_all.detach()) as sender:
        sends_half.sendall(struct.pack("!i", 100) + b"half of it")
        sender.send((about, save(tensors)))
    connections = [Connection(whole.detach()), Connection(cut.detach())]
    sampler = AnotherProcess(model(), tokenizers(), tmp_path / "sampler", 60.0)
    monkeypatch.setattr(sampler, "_ask", lambda: setattr(sampler, "connection", connections.pop()))
    sampler.begin(phase(), model())
    with sampler.connection:
        assert sampler.collect() == {}
    with sampler.connection:
        assert not connections


def test_weights_that_have_no_room_are_told_of(monkeypatch, tmp_path):
    """And not by a signal, when they are written."""
    with open("/dev/full", "r+b", buffering=0) as full:
        monkeypatch.setattr(messages.tempfile, "TemporaryFile", lambda: full)
        with pytest.raises(OSError, match=r"no room for [\d,]+ bytes of weights: No space left on device"):
            AnotherProcess(model(), tokenizers(), tmp_path / "sampler", 60.0)


def test_what_goes_wrong_there_is_told_here(beside):
    asked = phase()
    beside.begin(replace(asked, rows="many"), model())
    with pytest.raises(RuntimeError, match=r"makes rollouts failed:\nTraceback"):
        beside.collect()
    beside.begin(asked, model())
    assert beside.collect()


# ------------------------------------------------------------------ whole runs


def settings(worker="none", overlap=True, stop=4):
    """Texts of all lengths in U-RB, some of which are cut and go on under newer weights."""
    made = recipe(stop, "questions in words", "answer in words", 2, 4, "U-RB", 3, save_every=10)
    return replace(made, rollout=replace(made.rollout, overlap=overlap, worker=worker))


def outcome(folder, *parts):
    """The measures and the weights of a run of several parts."""
    for part in parts:
        policy(folder, part).train(lambda step, measures: None)
    measures = [{name: value for name, value in entry.items() if name != "idle"} for entry in timeless(log_of(folder))]
    return measures, {name: bytes(value.numpy()) for name, value in weights(policy(folder, parts[-1])).items()}


def test_a_run_is_the_same_whoever_makes_its_rollouts_and_goes_on_with_it(tmp_path, monkeypatch, beside):
    verifier(monkeypatch, "answer in words", lambda data: len(data) % 2 == 0)
    choose = lambda config, model, tokenizers, run: beside if config.worker == "process" else InProcess(tokenizers)
    monkeypatch.setattr(loop, "make_sampler", choose)
    monkeypatch.setattr(beside, "close", lambda: None)  # the next run goes on with it
    plain = outcome(tmp_path / "plain", settings())
    assert outcome(tmp_path / "changed", settings("process", stop=2), settings("none", stop=3), settings("process")) == plain
    assert [entry["age"] >= 1 for entry in plain[0]] == [False, True, True, True]
    assert sum(entry["optimiser steps"] for entry in plain[0]) > 1
    idle = [entry.get("idle", -1.0) for entry in log_of(tmp_path / "changed")]
    assert [share > 0 for share in idle[:2]] == [True, True]
    assert idle[2:] == [-1.0, 0.0]  # nobody waits in one process, nor for what the state held


def test_a_run_goes_on_that_was_begun_before_rollouts_could_overlap(tmp_path, monkeypatch):
    """Its states name no rollouts that are taken."""
    verifier(monkeypatch, "answer in words", lambda data: len(data) % 2 == 0)
    outcome(tmp_path, settings(overlap=False, stop=1))
    (state,) = (tmp_path / "rollouts").glob("*.json")
    told = json.loads(state.read_text())
    assert told.pop("taken") == []
    state.write_text(json.dumps(told))
    gone_on = policy(tmp_path, settings(overlap=False))
    assert gone_on.step == 1
    assert len(gone_on.state.rollouts) == 16


def test_kinds_of_workers_are_refused_by_name(monkeypatch):
    with pytest.raises(ValueError, match=r"worker = 'thread': expected one of none, process, ray"):
        build(RolloutConfig, {"worker": "thread"})
    monkeypatch.setattr(samplers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'"ray" needs Ray: pip install'):
        check_worker("ray")


class SmallCluster:
    """Of Ray what says of which nodes there are."""

    nodes = staticmethod(lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}])
    is_initialized = staticmethod(lambda: True)


def test_an_actor_that_no_node_can_hold_is_refused(monkeypatch):
    """Ray would wait for a node to join."""
    monkeypatch.setattr(cluster, "import_module", lambda name: SmallCluster)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with pytest.raises(
        ValueError, match=r"the actor has 4 threads, .* no node of the cluster more than 2 CPUs: set OMP_NUM_THREADS=2"
    ):
        RayActor(model(), tokenizers(), 60.0).begin(phase(), model())


@pytest.mark.long
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'ernest-ai[cluster]'")
@pytest.mark.filterwarnings("ignore")
def test_an_actor_of_ray_makes_the_same_and_may_be_killed():
    """Its start takes ten seconds."""
    made, asked = model(), phase()
    found = told(run_phase(asked, made, tokenizers()))
    actor = RayActor(made, tokenizers(), 60.0)
    try:
        actor.begin(asked, made)
        assert told(actor.collect()) == found
        actor.begin(asked, made)
        actor.ray.kill(actor.actor)
        assert told(actor.collect()) == found
    finally:
        actor.close()
