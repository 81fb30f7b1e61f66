"""The attention mask: one rule, which training, packing and cached generation share."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sight:
    """Groups that do not see a position although they come after it in its document: those from `gone` to before `back`, `[...,
    positions]` each. Where `gone` is not below `back` there are none."""

    gone: Tensor
    back: Tensor

    def __getitem__(self, rows: Tensor) -> "Sight":
        return Sight(self.gone[rows], self.back[rows])


def allowed(
    query_document: Tensor, query_group: Tensor, key_document: Tensor, key_group: Tensor, sight: Sight | None = None
) -> Tensor:
    """Which query may attend to which key: bool `[..., queries, keys]` from document and group ids `[..., queries]` and `[...,
    keys]`, and the `sight` of keys, where some are lost from view.

    A position sees another iff both belong to one document and the other's group is not later (ERNIE 5.0 §5.3), nor is the other
    out of its sight. Padding is a document of its own (-1), so that its rows are never empty.
    """
    same = query_document[..., :, None] == key_document[..., None, :]
    seen = same & (key_group[..., None, :] <= query_group[..., :, None])
    if sight is None:
        return seen
    group = query_group[..., :, None]
    return seen & ((group < sight.gone[..., None, :]) | (group >= sight.back[..., None, :]))
