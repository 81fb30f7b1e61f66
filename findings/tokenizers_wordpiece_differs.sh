#!/usr/bin/env bash
# tokenizers 0.23.3: trained twice on the same texts in the same process, WordPiece has two vocabularies; BPE has one.
#
# Both trainers count pairs and merge the commonest, and neither takes a seed, so that one expects of both what BPE keeps: the same
# texts give the same tokenizer. WordPiece numbers the letters within words, "##a", as they come out of a hash table that is drawn
# anew each time, and equally common pairs by the numbers of their letters; so tokens have other ids, and where the last places go to
# equals, others are in. A model is tied to the file of its tokenizer, which training again does not bring back. Seen, for 500 lines
# of made-up words, 300 tokens, ten trainings:
#
#     BPE:       1 vocabulary in 10 trainings
#     WordPiece: 10 vocabularies in 10 trainings; the first letters within words: ##h ##d ##b ##a ...
#
# The letters differ from run to run. Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

drawn = random.Random(0)
words = ["".join(drawn.choices("abcdefgh", k=drawn.randint(2, 6))) for _ in range(3000)]
LINES = [" ".join(drawn.choices(words, k=10)) for _ in range(500)]


def vocabulary(model, trainer) -> dict[str, int]:
    tokenizer = Tokenizer(model())
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(LINES, trainer(vocab_size=300, show_progress=False))
    return tokenizer.get_vocab()


found = {
    "BPE": [vocabulary(models.BPE, trainers.BpeTrainer) for _ in range(10)],
    "WordPiece": [vocabulary(models.WordPiece, trainers.WordPieceTrainer) for _ in range(10)],
}
counts = {name: len({tuple(sorted(one.items())) for one in some}) for name, some in found.items()}
letters = sorted((id_, token) for token, id_ in found["WordPiece"][0].items() if token.startswith("##") and len(token) == 3)
print(f"BPE:       {counts['BPE']} vocabular{'y' if counts['BPE'] == 1 else 'ies'} in 10 trainings")
first = " ".join(token for _, token in letters[:4])
print(f"WordPiece: {counts['WordPiece']} vocabularies in 10 trainings; the first letters within words: {first} ...")
sys.exit(0 if counts["BPE"] == 1 and counts["WordPiece"] > 1 else 1)
PYTHON
