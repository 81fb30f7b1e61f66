"""Examples on disk: written once, read lazily by any number of processes."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ernest.data.examples import EncodedSegment, Example


class ExampleStore:
    """Examples on disk, a sequence of `Example`: a folder of parts, each with one JSON line per example and the arrays of
    each form joined in one safetensors file."""

    def __init__(self, folder: Path) -> None:
        self.parts: list[dict[str, np.ndarray]] = []
        self.lines: list[dict[str, Any]] = []
        self.tasks: dict[str, list[int]] = {}
        for part in sorted(path.parent for path in folder.glob("*/examples.jsonl")):
            for line in (part / "examples.jsonl").read_text().splitlines():
                entry = json.loads(line) | {"part": len(self.parts)}
                self.tasks.setdefault(entry["task"], []).append(len(self.lines))
                self.lines.append(entry)
            self.parts.append({name: tensor.numpy() for name, tensor in load_file(part / "arrays.safetensors").items()})
        if not self.lines:
            raise ValueError(f"{folder} holds no examples")

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Example:
        line = self.lines[index]
        arrays = self.parts[line["part"]]
        return Example(tuple(_stored_segment(entry, arrays) for entry in line["segments"]), line["task"])

    @staticmethod
    def write(part: Path, examples: Iterable[Example]) -> None:
        """Writes one part aside, then renames."""
        aside = part.parent.with_name(part.parent.name + "." + part.name)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        arrays: dict[str, list[np.ndarray]] = {}
        length: dict[str, int] = {}
        with (aside / "examples.jsonl").open("w") as lines:
            for example in examples:
                entries = []
                for segment in example.segments:
                    entry: dict[str, Any] = {"form": segment.form, "made": segment.made}
                    if segment.form == "text":
                        entry["text"] = segment.data
                    else:
                        start = length.get(segment.form, 0)
                        arrays.setdefault(segment.form, []).append(segment.data)
                        length[segment.form] = start + len(segment.data)
                        entry |= {"start": start, "end": length[segment.form], "video": segment.video, "open": segment.open}
                    entries.append(entry)
                lines.write(json.dumps({"task": example.task, "segments": entries}) + "\n")
        joined = {name: torch.from_numpy(np.ascontiguousarray(np.concatenate(parts))) for name, parts in arrays.items()}
        save_file(joined, aside / "arrays.safetensors")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(part)


def _stored_segment(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> EncodedSegment:
    data = entry["text"] if entry["form"] == "text" else arrays[entry["form"]][entry["start"] : entry["end"]]
    return EncodedSegment(entry["form"], data, entry["made"], entry.get("video", False), entry.get("open", False))
