"""Rollouts by an actor of Ray, on this machine or another of its cluster: the interface and the numbers of every sampler."""

from importlib import import_module
from typing import Any

import numpy as np
import torch

from ernest.device import set_threads
from ernest.model.network import Ernest
from ernest.rl.messages import (
    RESTARTS,
    Message,
    Told,
    answer_message,
    blank_network,
    gave_up,
    phase_message,
    read_weights,
    told_rollouts,
    weight_size,
    write_weights,
)
from ernest.rl.phase import Phase
from ernest.rl.rollout import Key, Response
from ernest.tokenizers.bundle import Tokenizers


class RayActor:
    """Rollouts by an actor with as many threads as this process has, in the cluster that `RAY_ADDRESS` names, or in one of this
    machine alone. An actor that does not answer within `timeout` seconds is ended and asked anew, as one that has ended."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers, timeout: float) -> None:
        self.ray: Any = import_module("ray")
        self.timeout = timeout
        self.sizes = model.config, model.spec, tokenizers, torch.get_num_threads()
        self.actor: Any = None
        self.starts_ray = False

    def begin(self, phase: Phase, model: Ernest) -> None:
        self.actor = self.actor or self._start()
        weights = np.empty(weight_size(model), np.uint8)
        write_weights(model, weights)
        self.phase, self.asked = phase, (phase_message(phase), self.ray.put(weights))
        self.answer = self.actor.run.remote(*self.asked)

    def collect(self) -> dict[Key, Response]:
        for _ in range(1 + RESTARTS):
            try:
                return told_rollouts(self.ray.get(self.answer, timeout=self.timeout), self.phase)
            except (self.ray.exceptions.RayActorError, self.ray.exceptions.GetTimeoutError):
                self.ray.kill(self.actor)
                self.actor = self._start()
                self.answer = self.actor.run.remote(*self.asked)
        raise ChildProcessError(f"the actor that makes rollouts {gave_up(self.timeout)}")

    def close(self) -> None:
        if self.actor is not None:
            self.ray.kill(self.actor)
            self.actor = None
            if self.starts_ray:
                self.ray.shutdown()
                self.starts_ray = False

    def _start(self) -> Any:
        """A new actor. Raises ValueError where no node of the cluster can hold it: Ray would wait for one."""
        if not self.ray.is_initialized():
            self.ray.init(include_dashboard=False, log_to_driver=False)
            self.starts_ray = True
        threads, most = self.sizes[-1], max(node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"])
        if threads > most:
            raise ValueError(
                f'rollout.worker = "ray": the actor has {threads} threads, as this process, and no node of the cluster more than '
                f"{most:g} CPUs: set OMP_NUM_THREADS={max(1, int(most))}"
            )
        return self.ray.remote(num_cpus=self.sizes[-1])(_Actor).remote(*self.sizes)


class _Actor:
    """A network that waits for weights, on a process of Ray's."""

    def __init__(self, config: Any, spec: Any, tokenizers: Tokenizers, threads: int) -> None:
        set_threads(threads)
        self.model, self.tokenizers = blank_network(config, spec), tokenizers

    def run(self, message: Message, weights: np.ndarray) -> Told:
        read_weights(self.model, weights)
        return answer_message(message, self.model, self.tokenizers)
