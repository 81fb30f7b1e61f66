"""What `ernest export` does: a checkpoint as a folder of transformers, and such a folder as a checkpoint."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ernest.checkpoint import Learnt, check_checkpoint, load_expert_importance, load_learnt, load_model, run_of, save_model
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.export.card import model_card
from ernest.storage import check_new, read_json, write_folder, write_text

BESIDE = ("recipe.json", "learnt.json")
"""Files of a checkpoint that an exported folder carries along; transformers does not read them."""


def write_hf(
    checkpoint: Path, out: Path, size: SubModelSize = FULL_SIZE, findings: Path | None = None, shard: str = "5GB"
) -> str:
    """Writes a checkpoint, or the sub-model of a size, as a folder that transformers loads; returns a line on what it holds.

    No file of weights exceeds `shard`. The model card shows the scores of `findings`, or those found beside the checkpoint.
    Raises ValueError for a folder that is there already or a checkpoint or size that cannot be, and ImportError without
    transformers.
    """
    _check(checkpoint, out, "model.json")
    if not re.fullmatch(r"[1-9]\d*[KMGT]B", shard):
        raise ValueError(f"--shard {shard}: expected the size of the largest file, such as 500MB or 5GB")
    if (checkpoint / "tokenizers/voice.safetensors").is_file():
        raise ValueError(f"{checkpoint} knows voices from samples, which folders of transformers do not hold")
    from ernest.export import hf
    from ernest.export.modelling import from_network
    from ernest.model.slicing import choose, extract, kept_importance

    model, tokenizers = load_model(checkpoint)
    importance, learnt = load_expert_importance(checkpoint), load_learnt(checkpoint)
    if not size.is_full:
        submodel = choose(model, importance, size)
        model, importance = extract(model, submodel), kept_importance(importance, submodel)
    made = from_network(model, tokenizers, importance, learnt.positions)
    spec = model.spec
    scores = _findings(findings, checkpoint) if size.is_full else None
    with write_folder(out, need=sum(value.nbytes for value in made.state_dict().values())) as aside:
        tokenizers.text.save(aside / "text.json")
        processor = hf.ErnestProcessor(hf.ErnestTokenizer(str(aside / "text.json")), asdict(tokenizers.media))
        made.save_pretrained(aside, max_shard_size=shard)
        for file in aside.glob("*.safetensors"):  # which safetensors lets nobody else read
            file.chmod((aside / "text.json").stat().st_mode)
        processor.save_pretrained(aside)
        for name in BESIDE:
            if (checkpoint / name).exists():
                write_text(aside / name, (checkpoint / name).read_text(encoding="utf-8"))
        card = model_card(out.name, model.config, spec, learnt, _recipe(checkpoint), scores, tokenizers.media)
        write_text(aside / "README.md", card)
    weights = sum(p.numel() for p in made.network.parameters())
    return f"{out}: {weights / 1e6:.2f} million parameters; it loads after `import ernest.export.hf`"


def read_hf(folder: Path, out: Path) -> str:
    """Writes a folder of transformers, as `write_hf` or its own `save_pretrained` wrote it, as a checkpoint; returns a line on
    what it holds. Raises ValueError for a folder of another kind."""
    _check(folder, out, "config.json")
    if read_json(folder / "config.json").get("model_type") != "ernest":
        raise ValueError(f"{folder / 'config.json'}: expected model_type 'ernest', got another model's")
    from ernest.export import hf

    made = hf.ErnestForCausalLM.from_pretrained(folder)
    network = made.to_network()
    learnt = Learnt((), (), made.config.max_position_embeddings)
    if (folder / "learnt.json").exists():
        learnt = load_learnt(folder)
    save_model(out, network, made.tokenizers(), _recipe(folder), made.expert_importance.float(), learnt)
    return f"{out}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} million parameters"


def _check(folder: Path, out: Path, needs: str) -> None:
    """Before anything slow is imported."""
    check_new(out)
    if needs == "model.json":
        check_checkpoint(folder)
    elif not (folder / needs).exists():
        raise ValueError(f"{folder} is no folder of transformers: it has no {needs}")


def _findings(findings: Path | None, checkpoint: Path) -> dict[str, Any] | None:
    """What the report of the run was drawn from, where it is known."""
    file = (findings or run_of(checkpoint) / "findings") / "findings.json"
    if findings is not None and not file.exists():
        raise ValueError(f"{findings} holds no findings: findings.json is missing")
    return read_json(file) if file.exists() else None


def _recipe(folder: Path) -> dict[str, Any]:
    return read_json(folder / "recipe.json") if (folder / "recipe.json").exists() else {}
