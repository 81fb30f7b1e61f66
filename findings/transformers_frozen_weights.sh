#!/usr/bin/env bash
# transformers 5.24.0: weights that a model's constructor freezes come back from `from_pretrained` as weights to be trained.
#
# `from_pretrained` builds the model without memory for its weights and then puts new parameters in their place, which want
# gradients whatever `requires_grad_(False)` said in `__init__`. The same class made from its config keeps them frozen. Nothing is
# warned of; an optimiser over `model.parameters()` changes them. Freeze after loading, or in a `from_pretrained` of one's own.
# Seen:
#
#     made from its config: the embedding wants a gradient: False
#     saved and loaded: the embedding wants a gradient: True
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0 transformers==5.24.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from transformers import LlamaConfig, LlamaForCausalLM


class Frozen(LlamaForCausalLM):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model.embed_tokens.weight.requires_grad_(False)


sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
made = Frozen(LlamaConfig(**sizes))
made.save_pretrained("saved")
seen = [model.model.embed_tokens.weight.requires_grad for model in (made, Frozen.from_pretrained("saved"))]
print("made from its config: the embedding wants a gradient:", seen[0])
print("saved and loaded: the embedding wants a gradient:", seen[1])
sys.exit(0 if seen == [False, True] else 1)
PYTHON
