"""The part of a folder of records by which a run is judged: the one that an import kept back, or a share that is cut here."""

from pathlib import Path
from zlib import crc32

from ernest.data.records import LINES, RecordFolder, StoredRecord, read_lines

HELD_OUT = "held_out"
"""The folder, within that of an import, of records to judge by."""
FEWEST = 20
"""Of fewer files none is kept back."""
MOST_SCORED = 300
"""Records of a task that are scored, at most."""


def split_records(folder: Path, share: float) -> tuple[RecordFolder, RecordFolder | None]:
    """The records of `folder` to train on, and those to judge by: what lies in its `HELD_OUT`, or else that `share` of its files.

    With a `share` of 0 nothing is kept back. Records that show one file stay on one side, whatever their order. Raises ValueError
    as `read_lines` does.
    """
    if not 0 <= share < 1:
        raise ValueError(f"held_out: expected a share from 0 to below 1, got {share:g}")
    records = read_lines(folder)
    if not share:
        return records, None
    if (folder / HELD_OUT / LINES).is_file():
        return records, read_lines(folder / HELD_OUT)
    groups: dict[str, list[StoredRecord]] = {}
    for record in records.stored:
        groups.setdefault(_file(record, folder), []).append(record)
    if len(groups) < FEWEST:
        return records, None
    ranked = sorted(groups, key=lambda name: (crc32(name.encode()), name))
    chosen = {record.line for name in ranked[: max(1, int(len(groups) * share))] for record in groups[name]}
    kept = tuple(record for record in records.stored if record.line not in chosen)
    return RecordFolder(folder, kept), RecordFolder(folder, tuple(r for r in records.stored if r.line in chosen))


def few_of_each_task(records: RecordFolder, most: int = MOST_SCORED) -> RecordFolder:
    """At most `most` records of each task, evenly spread."""
    of_task: dict[str, list[StoredRecord]] = {}
    for record in records.stored:
        of_task.setdefault(record.task, []).append(record)
    few = [of_one[i * len(of_one) // most] if len(of_one) > most else of_one[i] for of_one in of_task.values()
           for i in range(min(most, len(of_one)))]  # fmt: skip
    return RecordFolder(records.path, tuple(few))


def _file(record: StoredRecord, folder: Path) -> str:
    """What a record shows: its first file, or the texts of one without files."""
    for segment in record.segments:
        if segment.kind != "text":
            return f"{segment.file.relative_to(folder).as_posix()} {segment.rows}"
    return repr([segment.text for segment in record.segments])
