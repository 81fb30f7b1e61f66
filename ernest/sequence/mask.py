"""The attention mask: one rule, which training, packing and cached generation share."""

from torch import Tensor


def allowed(query_document: Tensor, query_group: Tensor, key_document: Tensor, key_group: Tensor) -> Tensor:
    """Which query may attend to which key: bool `[..., queries, keys]` from document and group ids `[..., queries]` and `[...,
    keys]`.

    A position sees another iff both belong to one document and the other's group is not later (ERNIE 5.0 §5.3). Padding is a
    document of its own (-1), so that its rows are never empty.
    """
    same = query_document[..., :, None] == key_document[..., None, :]
    return same & (key_group[..., None, :] <= query_group[..., :, None])
