"""Whether half precision pays on this machine."""

import torch


def half_precision() -> bool:
    """True where bfloat16 products are done in hardware: on a GPU, and on processors with AVX-512 BF16 or AMX.

    Elsewhere they are emulated, many times slower than float32.
    """
    if torch.cuda.is_available():
        return True
    processor = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(processor.get("avx512_bf16") or processor.get("amx_bf16"))
