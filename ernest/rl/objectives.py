"""Objectives of the policy gradient as functions of tensors: GRPO, GSPO and MISC, with IcePop's and WPSM's masks (ERNIE 5.0 §4).

With A_i the advantage of response i, and for its unit j

    rho_ij = pi_train(y_ij; theta_old) / pi_sampler(y_ij),  r_ij = pi(y_ij; theta) / pi_train(y_ij; theta_old),
    s_i = exp(sum_j w_ij log r_ij / sum_j w_ij),  M(k) = k if k lies in [lowest, highest], else 0.

A unit is an element (a token, a bit, a code) or a group. Its weight w_ij comes from the normaliser, and all sum to 1; with equal
weights they are the (1/n) (1/|y_i|) of the report. What a mask takes out is left out of the sum, not multiplied by 0: whatever it
is, infinite or not a number, it leaves no trace.

Shapes: E elements, J units, R responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.config.rl import Normaliser, ObjectiveConfig

SPREAD = 1e-6
"""Added to the spread of the rewards of a group, by which advantages are divided. Rewards in [0, 1] that lie no further apart are
equal but for rounding, which an optimiser that divides by the size of gradients would make a whole step of."""


def group_advantages(rewards: Sequence[float | None], divide_by_spread: bool = True) -> list[float | None]:
    """(reward - mean) / (spread + 1e-6) of the samples of one prompt; None for all of them where there is no signal.

    There is none where all rewards are one, up to rounding, as in a group of one. None is a verdict that failed: it has no
    advantage, and leaves mean and spread alone.
    """
    known = [reward for reward in rewards if reward is not None]
    if not known or max(known) - min(known) <= SPREAD:
        return [None] * len(rewards)
    mean = sum(known) / len(known)
    spread = (sum((reward - mean) ** 2 for reward in known) / len(known)) ** 0.5 + SPREAD if divide_by_spread else 1.0
    return [None if reward is None else (reward - mean) / spread for reward in rewards]


@dataclass(frozen=True, eq=False)
class Units:
    """What responses chose, unit by unit, `[J]` each: the number of the `response`, the `weight`, and the log-probabilities
    under the weights that are trained, under those before the update, and under the policy that sampled."""

    response: Tensor
    weight: Tensor
    new: Tensor
    old: Tensor
    sampler: Tensor

    def select(self, kept: Tensor) -> "Units":
        """Those of a mask or an index."""
        return Units(*(getattr(self, name)[kept] for name in ("response", "weight", "new", "old", "sampler")))


@dataclass(frozen=True, eq=False)
class Outcome:
    """The `loss`, which is None where a mask has taken everything; and what the masks did, as shares of the weight: `masked`, the
    mean of M (`mean_weight`), where the clip held the ratio (`clipped`), and what lies in responses that lost every unit
    (`removed`)."""

    loss: Tensor | None
    masked: float
    mean_weight: float
    clipped: float
    removed: float


def element_weights(response: Tensor, segment: Tensor, group: Tensor, relative: Tensor, normaliser: Normaliser) -> Tensor:
    """Weights `[E]` that sum to 1, of elements that are of a response, a segment and a group, each counted over the whole batch.

    "element": every element counts the same, so that a picture of a thousand bits outweighs an answer of ten tokens. "group":
    every group does. "segment": every segment of a response, and every response. `relative` `[E]` > 0 are weights within those.
    """
    if normaliser == "element":
        return relative / relative.sum()
    if normaliser == "group":
        weight = relative / _totals(group, torch.ones_like(relative))
        return weight / weight.sum()
    within = relative / _totals(segment, relative)
    owners = torch.stack([response, segment], dim=1).unique(dim=0)[:, 0]  # of every segment, once
    segments = torch.bincount(owners, minlength=int(response.max()) + 1 if len(response) else 0)
    return within / segments[response] / len(owners.unique())


def _totals(index: Tensor, values: Tensor) -> Tensor:
    """For each entry the sum of `values` over all that have its `index`."""
    sums = values.new_zeros(int(index.max()) + 1 if len(index) else 0).index_add(0, index, values)
    return sums[index]


def merge_units(units: Units, group: Tensor) -> Units:
    """Groups in place of their elements: log-probabilities and weights add up."""
    _, index = group.unique(return_inverse=True)
    count = int(index.max()) + 1 if len(index) else 0
    add = lambda values: values.new_zeros(count).index_add(0, index, values)
    response = units.response.new_zeros(count).index_copy(0, index, units.response)
    return Units(response, *(add(getattr(units, name)) for name in ("weight", "new", "old", "sampler")))


def policy_loss(units: Units, advantage: Tensor, config: ObjectiveConfig, share: Tensor | None = None) -> Outcome:
    """The loss of some responses with `advantage` `[R]`, each of which counts `share` `[R]`: 1 - M_i of WPSM, or 1.

    The weights of units sum to 1 over the batch, of which these may be a part: losses of parts add up.
    """
    if not len(units.weight):
        return Outcome(None, 0.0, 0.0, 0.0, 0.0)
    everything = float(units.weight.sum())
    mismatch = _mismatch(units, config)
    weight_M = torch.ones_like(units.weight)
    if mismatch is not None:
        assert config.bounds is not None
        lowest, highest = config.bounds
        weight_M = torch.where((mismatch >= lowest) & (mismatch <= highest), mismatch, torch.zeros_like(mismatch))
    kept = weight_M > 0
    masked = float(units.weight[~kept].sum()) / everything
    mean_weight = float((units.weight * weight_M).sum()) / everything
    removed = float(units.weight[_totals(units.response, kept.to(units.weight)) == 0].sum()) / everything
    factor = weight_M if share is None else weight_M * share[units.response]
    counted = factor > 0
    if not counted.any():
        return Outcome(None, masked, mean_weight, 0.0, removed)
    some = units.select(counted)  # before anything is worked out that has a gradient
    if config.is_of_sequence:
        ratio = _log_s(units, mismatch)[counted].exp() * (some.new - some.new.detach()).exp()
    else:
        ratio = (some.new - some.old).exp()
    surrogate, clipped = _surrogate(ratio, advantage[some.response], config)
    loss = -(some.weight * factor[counted] * surrogate).sum()
    return Outcome(loss, masked, mean_weight, float(some.weight[clipped].sum()) / everything, removed)


def _mismatch(units: Units, config: ObjectiveConfig) -> Tensor | None:
    """k of M(k) for every unit: rho_ij of GRPO + IcePop (Eq. 1) and of MISC (Eq. 3), its mean over the response of GSPO + IcePop
    (Eq. 2), None without a mask."""
    if config.bounds is None:
        return None
    log_rho = (units.old - units.sampler).detach()
    return (_mean_of_response(log_rho, units) if config.method == "GSPO+IcePop" else log_rho).exp()


def _log_s(units: Units, mismatch: Tensor | None) -> Tensor:
    """log s_i at every unit, as a value: its gradient is put back unit by unit, s_ij = sg[s_i] pi(y_ij) / sg[pi(y_ij)] (the
    token form of GSPO). A unit whose mismatch is no number, or whose log is none, is no part of its response."""
    log_ratio = (units.new - units.old).detach()
    if mismatch is None:
        return _mean_of_response(log_ratio, units)
    sound, found = mismatch.isfinite() & (mismatch > 0), torch.zeros_like(log_ratio)
    found[sound] = _mean_of_response(log_ratio[sound], units.select(sound))
    return found


def _mean_of_response(values: Tensor, units: Units) -> Tensor:
    """For each unit the weighted mean of `values` over its response."""
    return _totals(units.response, values * units.weight) / _totals(units.response, units.weight)


def _surrogate(ratio: Tensor, advantage: Tensor, config: ObjectiveConfig) -> tuple[Tensor, Tensor]:
    """min(r A, clip(r, 1 - low, 1 + high) A), and where the clip holds."""
    low, high = config.clip
    plain, clipped = ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage
    return torch.minimum(plain, clipped), (clipped < plain).detach()


def well_learned_share(
    entropy: Tensor, accuracy: Sequence[float], advantage: Tensor, usual_entropy: float | None, config: ObjectiveConfig
) -> Tensor:
    """1 - M_i `[R]` of WPSM (Eq. 4): M_i = alpha where H_i < eta and acc > tau, else 0.

    eta is a share of the `usual_entropy`, that of the batch before; by default only responses better than their group count as
    well-learned positives.
    """
    share = torch.ones_like(entropy)
    if not config.wpsm_alpha or usual_entropy is None:
        return share
    learned = (entropy < config.wpsm_entropy * usual_entropy) & (torch.tensor(list(accuracy)).to(entropy) > config.wpsm_accuracy)
    if config.wpsm_positive:
        learned &= advantage > 0
    return torch.where(learned, 1.0 - config.wpsm_alpha, share)


def kl_to(reference: Tensor, new: Tensor, weight: Tensor) -> Tensor:
    """sum_j w_j (q - log q - 1) with q = pi_reference / pi: an estimate of KL(pi | pi_reference) that is never negative, and 0 of
    equals."""
    log_q = reference - new
    return (weight * (log_q.exp() - log_q - 1)).sum()
