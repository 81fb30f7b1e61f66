"""The part of a folder of records by which a run is judged: the one that an import kept back, or a share that is cut here."""

from pathlib import Path
from zlib import crc32

import numpy as np

from ernest.config.media import USUAL, MediaSpec
from ernest.data.record_line import StoredRecord
from ernest.data.records import LINES, RecordFolder, StoredRecords, read_lines

HELD_OUT = "held_out"
"""The folder, within that of an import, of records to judge by."""
FEWEST = 20
"""Of fewer files none is kept back."""
MOST_SCORED = 300
"""Records of a task that are scored, at most."""


def split_records(folder: Path, share: float, spec: MediaSpec = USUAL) -> tuple[RecordFolder, RecordFolder | None]:
    """The records of `folder` to train on, and those to judge by: what lies in its `HELD_OUT`, or else that `share` of its files.

    With a `share` of 0 nothing is kept back. Records that show one file stay on one side, whatever their order. Raises ValueError
    as `read_lines` does.
    """
    if not 0 <= share < 1:
        raise ValueError(f"held_out: expected a share from 0 to below 1, got {share:g}")
    records = read_lines(folder, spec)
    if not share:
        return records, None
    if (folder / HELD_OUT / LINES).is_file():
        return records, read_lines(folder / HELD_OUT, spec)
    file_of = np.array([crc32(_file(record, folder).encode()) for record in records.stored], np.uint32)
    files = np.unique(file_of)
    if len(files) < FEWEST:
        return records, None
    held_back = np.isin(file_of, files[: max(1, int(len(files) * share))])
    kept, judges = (StoredRecords(folder, spec, np.flatnonzero(side)) for side in (~held_back, held_back))
    return RecordFolder(folder, kept), RecordFolder(folder, judges)


def few_of_each_task(records: RecordFolder, most: int = MOST_SCORED) -> RecordFolder:
    """At most `most` records of each task, evenly spread."""
    of_task: dict[str, list[int]] = {}
    for number, record in enumerate(records.stored):
        of_task.setdefault(record.task, []).append(number)
    few = []
    for numbers in of_task.values():
        count = min(most, len(numbers))
        few += [records.stored[numbers[i * len(numbers) // count]] for i in range(count)]
    return RecordFolder(records.path, few)


def _file(record: StoredRecord, folder: Path) -> str:
    """What a record shows: its first file, which is no sample of a voice, or the texts of one without files."""
    for segment in record.segments:
        if segment.kind != "text" and not segment.voice:
            return f"{segment.file.relative_to(folder).as_posix()} {segment.rows}"
    return repr([segment.text for segment in record.segments])
