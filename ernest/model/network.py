"""The network: one autoregressive decoder that understands and generates text, image, video and audio.

What departs from a plain decoder:
- positions carry text tokens, merged patches, cells of scales or codec frames, predicted group by group (sequence/groups)
- one mask rule for all of it (sequence/mask), one rotary embedding over time, height and width (sequence/positions)
- every layer's feed-forward is a pool of sparse experts behind one router (router, dispatch, experts)
- audio codes are predicted along depth, in the top layers (heads)
- text also predicts the token after next (heads)
- given pictures enter through CNN and ViT features merged by attention (encoder)
- a voice enters the context by one embedding of a sample of it
- any row of a batch may run a sub-model (submodel)
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.device import at_least_float32, compute_dtype
from ernest.model.attention import Spans, as_bias, visible
from ernest.model.backbone import Backbone, Routing, draw_as_constructed, init_matrices
from ernest.model.cache import LayerCache
from ernest.model.encoder import Encoder
from ernest.model.experts import RouterOutput
from ernest.model.heads import AudioHeads, MTPHead
from ernest.model.norm import RMSNorm
from ernest.model.submodel import SubModels
from ernest.sequence.batch import Batch, Cells
from ernest.sequence.bucketing import BucketedLinear
from ernest.sequence.history import frame_sight
from ernest.sequence.positions import rotary_angles


@dataclass(frozen=True)
class Predictions:
    """Logits at the targets of a batch: text tokens `[N, vocabulary]`, the token after next `[N, vocabulary]`, or None without
    that head, bits `[N, bits]`, codes of each level `[N, codes + 1]`; and what the routers did."""

    text: Tensor
    mtp: Tensor | None
    bits: Tensor
    codes: list[Tensor]
    router_output: RouterOutput


class Ernest(nn.Module):
    """The network for given sizes; `spec` comes from the tokenizers."""

    def __init__(self, config: ModelConfig, spec: TokenizerSpec) -> None:
        super().__init__()
        if config.layers < spec.levels + 1:
            raise ValueError(
                f"model.layers = {config.layers} must exceed the audio levels ({spec.levels}): each has a layer of its own"
            )
        self.config, self.spec = config, spec
        height, width = spec.scales[-1]
        self.token_embedding = nn.Embedding(spec.vocabulary, config.width)
        self.cell_projection = BucketedLinear(2 * spec.bits, config.width)
        self.scale_embedding = nn.Embedding(len(spec.scales), config.width)
        self.frame_projection = BucketedLinear(spec.bits * height * width, config.width)
        self.encoder = Encoder(config, spec)
        self.backbone = Backbone(config)
        self.final_norm = RMSNorm(config.width, config.norm_eps)
        self.text_head = BucketedLinear(config.width, spec.vocabulary, bias=False)
        self.bit_head = BucketedLinear(config.width, spec.bits)
        self.audio = AudioHeads(config.layers, config.width, spec.levels, spec.codes, config.norm_eps)
        self.mtp = MTPHead(config) if config.multi_token else None
        self.voice_projection = BucketedLinear(spec.voice, config.width) if spec.voice else None
        self._scale_weights()

    def init_weights(self) -> None:
        """Random weights, for a network that was made on the meta device: those of one made in place at the same seed."""
        for part in self.children():
            draw_as_constructed(part)
        self._scale_weights()

    def _scale_weights(self) -> None:
        init_matrices(self, self.config.layers)
        for table in (self.token_embedding, self.scale_embedding, *self.audio.tables()):
            nn.init.normal_(table.weight, std=0.1)

    def embed_cells(self, cells: Cells, x: Tensor) -> Tensor:
        """Adds cells to flat inputs `[positions, width]`: W [sum so far; previous frame] + scale, and SΣ's whole frame."""
        values = self.cell_projection(cells.value.to(x.dtype)) + self.scale_embedding(cells.scale)
        x = x.index_add(0, cells.index, values.to(x.dtype))
        return x.index_add(0, cells.frame_index, self.frame_projection(cells.frame.to(x.dtype)).to(x.dtype))

    def embed(self, batch: Batch) -> Tensor:
        """Inputs of all positions `[rows, length, width]`."""
        rows, length = batch.token_id.shape
        carries_token = batch.valid.flatten().clone()
        for index in (batch.cells.index, batch.stills.index, batch.clips.index, batch.codes.index, batch.voices.index):
            carries_token[index] = False
        x = self.token_embedding(batch.token_id.flatten()) * carries_token[:, None]
        x = self.embed_cells(batch.cells, x)
        for patches in (batch.stills, batch.clips):
            if len(patches.index) or torch.is_grad_enabled():  # of no clips, only to give its parameters a gradient
                x = x.index_add(0, patches.index, self.encoder(patches).to(x.dtype))
        x = x.index_add(0, batch.codes.index, self.audio.embed(batch.codes.value))
        if self.voice_projection is not None:
            x = x.index_add(0, batch.voices.index, self.voice_projection(batch.voices.value.to(x.dtype)).to(x.dtype))
        return x.view(rows, length, -1)

    def trunk(
        self,
        x: Tensor,
        position: Tensor,
        mask: Tensor | Spans,
        routing: Routing,
        after_layer: Callable[[int, Tensor], Tensor],
        caches: list[LayerCache] | None = None,
    ) -> tuple[Tensor, RouterOutput]:
        """Hidden states `[rows, positions, width]` under the final norm, and what the routers did; training and generation both
        pass here."""
        angles = rotary_angles(position, self.config.head_dim, self.config.rope_base, at_least_float32(x).dtype)
        bias = mask if isinstance(mask, Spans) else as_bias(mask, compute_dtype(x))
        x, router_output = self.backbone(x, angles, bias, routing, after_layer, caches)
        return self.final_norm(x), router_output

    def forward(self, batch: Batch, submodels: SubModels | None = None, replay: Tensor | None = None) -> Predictions:
        """Teacher-forced logits at the targets of a batch; `replay` are `router_output.expert_ids` of an earlier forward pass.

        Every part runs whatever the batch holds, on no rows if need be: all parameters get a gradient, if zero.
        """
        codes: list[Tensor] = []
        sight = frame_sight(batch.cells, batch.group, len(self.spec.scales), self.config.frame_window)
        mask = visible(batch.document, batch.group, self.final_norm.weight, sight)
        routing = Routing(submodels, batch.valid, replay)
        hidden, router_output = self.trunk(
            self.embed(batch), batch.position, mask, routing, self.audio.teach(batch.code_targets, codes)
        )
        flat = hidden.flatten(0, 1)
        text = self.text_head(flat[batch.token_index])
        bits = self.bit_head(flat[batch.cell_targets.index])
        return Predictions(text, self._mtp(hidden, batch), bits, codes, router_output)

    def _mtp(self, hidden: Tensor, batch: Batch) -> Tensor | None:
        if self.mtp is None:
            return None
        embedded = self.token_embedding(batch.mtp.token_id)
        ahead = self.mtp(hidden, embedded, batch.document, batch.group, batch.position, batch.mtp)
        return self.text_head(ahead.flatten(0, 1)[batch.mtp.target_index])
