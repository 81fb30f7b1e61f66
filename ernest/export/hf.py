"""Registers the exported model with transformers: after this import its Auto classes load such a folder, without remote code."""

# pyright: reportMissingImports=false

try:
    import transformers  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("transformers is not installed: pip install 'ernest-ai[hf]'", name="transformers") from missing

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoProcessor, AutoTokenizer

from ernest.export.config import ErnestConfig
from ernest.export.modelling import ErnestForCausalLM
from ernest.export.processor import ErnestProcessor
from ernest.export.text import ErnestTokenizer

AutoConfig.register(ErnestConfig.model_type, ErnestConfig, exist_ok=True)
AutoModelForCausalLM.register(ErnestConfig, ErnestForCausalLM, exist_ok=True)
AutoModelForMultimodalLM.register(ErnestConfig, ErnestForCausalLM, exist_ok=True)
AutoTokenizer.register(ErnestConfig, ErnestTokenizer, exist_ok=True)
AutoProcessor.register(ErnestConfig, ErnestProcessor, exist_ok=True)

__all__ = ["ErnestConfig", "ErnestForCausalLM", "ErnestProcessor", "ErnestTokenizer"]
