"""The network: one autoregressive decoder that understands and generates text, image, video and audio.

What departs from a plain decoder:
- positions carry symbols, merged patches, cells of scales or codec frames; groups of them are predicted at once (sequence/groups)
- one mask rule for all of it (sequence/mask), one rotary embedding over time, height and width (sequence/positions)
- every layer's feed-forward is a pool of sparse experts behind one router (experts)
- audio codes are predicted along depth, in the top layers (heads)
- text also predicts the token after next (heads)
- given pictures enter through CNN and ViT features merged by attention (encoder)
- any row of a batch may run a sub-model (submodel)
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ernest.config.recipe import ModelConfig
from ernest.config.tokenizer_spec import Interface
from ernest.model.attention import LayerCache, as_bias
from ernest.model.backbone import Backbone, Routing, init_matrices
from ernest.model.encoder import Encoder
from ernest.model.heads import AudioHeads, FutureHead
from ernest.model.norm import RMSNorm
from ernest.model.submodel import SubModels
from ernest.sequence.batch import Batch, Cells
from ernest.sequence.bucketing import SteadyLinear, product_type
from ernest.sequence.mask import allowed
from ernest.sequence.positions import rotary_angles


@dataclass(frozen=True)
class Predictions:
    """Logits at the targets of a batch: symbols `[N, vocabulary]`, the token after next `[N, vocabulary]` or None, bits
    `[N, bits]`, codes of each level `[N, codes + 1]`."""

    symbols: Tensor
    future: Tensor | None
    bits: Tensor
    codes: list[Tensor]


class Ernest(nn.Module):
    """The network for given sizes; `interface` comes from the tokenizers."""

    def __init__(self, config: ModelConfig, interface: Interface) -> None:
        super().__init__()
        if config.layers < interface.levels + 1:
            raise ValueError(
                f"model.layers = {config.layers} must exceed the audio levels ({interface.levels}): each has a layer of its own"
            )
        self.config, self.interface = config, interface
        height, width = interface.scales[-1]
        self.symbols = nn.Embedding(interface.vocabulary, config.width)
        self.cell = SteadyLinear(2 * interface.bits, config.width)
        self.scale = nn.Embedding(len(interface.scales), config.width)
        self.whole = SteadyLinear(interface.bits * height * width, config.width)
        self.encoder = Encoder(config, interface)
        self.backbone = Backbone(config)
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.text_head = SteadyLinear(config.width, interface.vocabulary, bias=False)
        self.bit_head = SteadyLinear(config.width, interface.bits)
        self.audio = AudioHeads(config.layers, config.width, interface.levels, interface.codes, config.norm_eps)
        self.future = FutureHead(config) if config.multi_token else None
        init_matrices(self, config.layers)
        for table in (self.symbols, self.scale, *self.audio.tables()):
            nn.init.normal_(table.weight, std=0.1)

    def embed_cells(self, cells: Cells, x: Tensor) -> Tensor:
        """Adds cells to flat inputs `[positions, width]`: W [sum so far; previous frame] + scale, and SΣ's whole frame."""
        values = self.cell(cells.value.to(x.dtype)) + self.scale(cells.scale)
        x = x.index_add(0, cells.at, values.to(x.dtype))
        return x.index_add(0, cells.whole_at, self.whole(cells.whole.to(x.dtype)).to(x.dtype))

    def embed(self, batch: Batch) -> Tensor:
        """Inputs of all positions `[rows, length, width]`."""
        rows, length = batch.symbol.shape
        carries_symbol = batch.valid.flatten().clone()
        for at in (batch.cells.at, batch.stills.at, batch.clips.at, batch.codes.at):
            carries_symbol[at] = False
        x = self.symbols(batch.symbol.flatten()) * carries_symbol[:, None]
        x = self.embed_cells(batch.cells, x)
        for patches in (batch.stills, batch.clips):
            if len(patches.at):
                x = x.index_add(0, patches.at, self.encoder(patches).to(x.dtype))
        x = x.index_add(0, batch.codes.at, self.audio.embed(batch.codes.value))
        return x.view(rows, length, -1)

    def trunk(
        self,
        x: Tensor,
        place: Tensor,
        mask: Tensor,
        routing: Routing,
        after_layer: Callable[[int, Tensor], Tensor],
        caches: list[LayerCache] | None = None,
    ) -> Tensor:
        """Hidden states `[rows, positions, width]` under the final norm; training and generation both pass here."""
        angles = rotary_angles(place, self.config.head_dim, self.config.rope_base)
        bias = as_bias(mask, product_type(x))
        return self.norm(self.backbone(x, angles, bias, routing, after_layer, caches))

    def forward(self, batch: Batch, submodels: SubModels | None = None, choices: list[Tensor] | None = None) -> Predictions:
        """Teacher-forced logits at the targets of a batch; `choices` collects the experts of every layer."""
        codes: list[Tensor] = []
        mask = allowed(batch.document, batch.group, batch.document, batch.group)
        routing = Routing(submodels, batch.valid, choices)
        hidden = self.trunk(self.embed(batch), batch.place, mask, routing, self.audio.teach(batch.code_targets, codes))
        flat = hidden.flatten(0, 1)
        symbols = self.text_head(flat[(batch.symbol_target >= 0).flatten()])
        bits = self.bit_head(flat[batch.cell_targets.at])
        return Predictions(symbols, self._future(hidden, batch), bits, codes)

    def _future(self, hidden: Tensor, batch: Batch) -> Tensor | None:
        if self.future is None or not batch.future.at.numel():
            return None
        embedded = self.symbols(batch.future.symbol)
        ahead = self.future(hidden, embedded, batch.document, batch.group, batch.place, batch.future)
        return self.text_head(ahead[batch.future.target >= 0])
