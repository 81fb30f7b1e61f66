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
    machine alone."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers) -> None:
        self.ray: Any = import_module("ray")
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
                return told_rollouts(self.ray.get(self.answer), self.phase)
            except self.ray.exceptions.RayActorError:
                self.actor = self._start()
                self.answer = self.actor.run.remote(*self.asked)
        raise RuntimeError(f"the actor that makes rollouts ended {1 + RESTARTS} times in one phase")

    def close(self) -> None:
        if self.actor is not None:
            self.ray.kill(self.actor)
            self.actor = None
            if self.starts_ray:
                self.ray.shutdown()
                self.starts_ray = False

    def _start(self) -> Any:
        if not self.ray.is_initialized():
            self.ray.init(include_dashboard=False, log_to_driver=False)
            self.starts_ray = True
        return self.ray.remote(num_cpus=self.sizes[-1])(_Actor).remote(*self.sizes)


class _Actor:
    """A network that waits for weights, on a process of Ray's."""

    def __init__(self, config: Any, spec: Any, tokenizers: Tokenizers, threads: int) -> None:
        set_threads(threads)
        self.model, self.tokenizers = blank_network(config, spec), tokenizers

    def run(self, message: Message, weights: np.ndarray) -> Told:
        read_weights(self.model, weights)
        return answer_message(message, self.model, self.tokenizers)
