"""Output heads beyond a linear layer: codes of sounds along depth, and the text token after next."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ernest.config.tables import ModelConfig
from ernest.device import at_least_float32
from ernest.model.attention import visible
from ernest.model.backbone import Block, Routing
from ernest.model.cache import LayerCache
from ernest.model.experts import RouterOutput
from ernest.model.norm import RMSNorm
from ernest.sequence.batch import Codes, MTPTargets
from ernest.sequence.bucketing import BucketedLinear
from ernest.sequence.positions import rotary_angles


class AudioHeads(nn.Module):
    """Next-codec prediction (ERNIE 5.0 §2.3.2, Fig. 3): code q of Q is read after layer L - Q + q, and its embedding is added
    to the hidden state before the next layer, so that later codes are conditioned on it within one forward pass.

    The embeddings are those of the input: a codec frame enters as sum_q E_q(c_q). Class `codes` of every level ends the audio.
    """

    def __init__(self, layers: int, width: int, levels: int, codes: int, eps: float) -> None:
        super().__init__()
        self.first_layer, self.levels, self.end = layers - levels, levels, codes
        self.code_embeddings = nn.ModuleList(nn.Embedding(codes + 1, width) for _ in range(levels))
        self.code_norms = nn.ModuleList(RMSNorm(width, eps) for _ in range(levels))
        self.code_heads = nn.ModuleList(BucketedLinear(width, codes + 1, bias=False) for _ in range(levels))

    def tables(self) -> list[nn.Embedding]:
        """The embeddings of all levels."""
        return [table for table in self.code_embeddings if isinstance(table, nn.Embedding)]

    def embed(self, codes: Tensor) -> Tensor:
        """`[N, levels] -> [N, width]`: the sum over levels of level-specific embeddings."""
        return torch.stack([table(codes[:, q]) for q, table in enumerate(self.code_embeddings)]).sum(dim=0)

    def step(
        self,
        layer: int,
        x: Tensor,
        index: Tensor,
        choose: Callable[[int, Tensor], Tensor],
        heads: Sequence[Callable[[Tensor], Tensor]] | None = None,
    ) -> Tensor:
        """After a layer: `choose(level, logits [N, codes + 1])` gives the codes `[N]` to feed back at flat positions `index`;
        `heads` may do what `code_heads` do."""
        level = layer - self.first_layer
        if level < 0:
            return x
        flat = x.flatten(0, 1)
        codes = choose(level, (heads or self.code_heads)[level](self.code_norms[level](flat[index])))
        if level + 1 < self.levels:
            flat = flat.index_add(0, index, self.code_embeddings[level](codes).to(flat.dtype))
        return flat.view_as(x)

    def teach(self, targets: Codes, logits: list[Tensor]) -> Callable[[int, Tensor], Tensor]:
        """The hook of training: notes the logits of each level and feeds back the true codes."""

        def choose(level: int, level_logits: Tensor) -> Tensor:
            logits.append(level_logits)
            return targets.value[:, level]

        return lambda layer, x: self.step(layer, x, targets.index, choose)


class MTPHead(nn.Module):
    """Multi-token prediction, sequential form of depth one (ERNIE 5.0 §2.1): h' = Block(W [norm(h_t); norm(E(x_{t+1}))]) gives
    x_{t+2} through the shared head. It runs on the text positions alone, and its feed-forward is one dense expert, which no
    sub-model touches."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.norm_hidden = RMSNorm(config.width, config.norm_eps)
        self.norm_token = RMSNorm(config.width, config.norm_eps)
        self.projection = nn.Linear(2 * config.width, config.width, bias=False)
        self.sizes = replace(config, layers=1, experts=1, top_k=1, expert_width=2 * config.expert_width)
        self.block = Block(self.sizes)

    def forward(
        self, hidden: Tensor, embedded: Tensor, document: Tensor, group: Tensor, position: Tensor, mtp: MTPTargets
    ) -> Tensor:
        """`hidden` `[rows, positions, width]`, `embedded` `[rows, M, width]` the next tokens; `[rows, M, width]`."""
        index = mtp.index.clamp_min(0)
        take = lambda values: values.gather(1, index)
        document = torch.where(mtp.index >= 0, take(document), -1)
        group = take(group)
        position = position.gather(1, index[..., None].expand(-1, -1, 3))
        read = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))
        x = self.join(read, embedded)
        angles = rotary_angles(position, self.config.head_dim, self.config.rope_base, at_least_float32(x).dtype)
        mask = visible(document, group, x)
        return self.block(x, angles, mask, 0, Routing())[0]

    def join(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        """What the block reads: a position's hidden state beside the token that follows it, `[..., width]` each."""
        return self.projection(torch.cat([self.norm_hidden(hidden), self.norm_token(embedded).to(hidden.dtype)], dim=-1))

    def run(
        self,
        x: Tensor,
        position: Tensor,
        mask: Tensor,
        routing: Routing,
        after_layer: Callable[[int, Tensor], Tensor],
        caches: list[LayerCache],
    ) -> tuple[Tensor, RouterOutput]:
        """The block on what was joined, with a cache: the arguments and results of `Ernest.trunk`."""
        angles = rotary_angles(position, self.sizes.head_dim, self.sizes.rope_base)
        x, router_output = self.block(x, angles, mask, 0, routing, caches[0])
        return after_layer(0, x), replace(router_output, expert_ids=router_output.expert_ids[None])
