"""Writes and reads snapshots as VTK images (`.vti`, one for each time) and collections of them (`.pvd`), without VTK.

The layout is that of VTK's XML files: https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html. The field `u` and
the histories follow the XML as raw bytes, so nothing is rounded; x runs fastest.
"""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from ernest.device import HOST
from ernest.phasefield.io.formats import QUOTES
from ernest.phasefield.io.snapshots import Snapshots, read_header
from ernest.storage import write_file

_TYPES = {"Float64": "<f8", "Float32": "<f4", "Int64": "<i8", "Int32": "<i4"}
_MARK = b'<AppendedData encoding="raw">_'


def write_image(path: Path, snapshots: Snapshots) -> None:
    """Writes one image. Raises ValueError for more than one time, which need a collection."""
    if len(snapshots.times) != 1:
        raise ValueError(f"{path}: a .vti holds one time, not {len(snapshots.times)}: choose a name that ends in .pvd")
    with write_file(path, snapshots.fields.nbytes) as aside:
        aside.write_bytes(_image(snapshots))


def write_collection(path: Path, snapshots: Snapshots) -> None:
    """Writes images 0000.vti, 0001.vti and so on in a folder of the collection's name, and the collection.

    The first image holds the histories.
    """
    names = [f"{index:04d}.vti" for index in range(len(snapshots.times))]
    stem = escape(path.stem, QUOTES)
    pairs = zip(snapshots.times.tolist(), names, strict=True)
    rows = [f'  <DataSet timestep="{time!r}" file="{stem}/{name}"/>' for time, name in pairs]
    head, tail = '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n <Collection>', " </Collection>\n</VTKFile>\n"
    with write_file(path, snapshots.fields.nbytes, mine=is_image) as aside:
        folder = aside.with_suffix("")
        folder.mkdir()
        for index, name in enumerate(names):
            times, fields = snapshots.times[index : index + 1], snapshots.fields[index : index + 1]
            histories = {} if index else snapshots.histories
            (folder / name).write_bytes(_image(Snapshots(times, fields, snapshots.grid, histories, snapshots.facts)))
        aside.write_text("\n".join([head, *rows, tail]), encoding="utf-8")


def is_image(file: Path) -> bool:
    """Whether a file is an image of a collection that was written here."""
    if not re.fullmatch(r"\d{4,}\.vti", file.name) or not file.is_file():
        return False
    with file.open("rb") as opened:
        return b'Name="phasefield"' in opened.read(4096)


def read_image(path: Path) -> Snapshots:
    """The snapshots of one image."""
    head, data = path.read_bytes().split(_MARK, 1)
    image = ElementTree.fromstring(head + b"<AppendedData/></VTKFile>")
    fields: dict[str, np.ndarray] = {}
    for array in image.iter("DataArray"):
        if "offset" in array.attrib:
            fields[array.attrib["Name"]] = _values(data, int(array.attrib["offset"]), _TYPES[array.attrib["type"]])
    header, time = (image.find(f".//*[@Name='{name}']") for name in ("phasefield", "TimeValue"))
    if header is None or header.text is None or time is None or time.text is None:
        raise ValueError("grid and time are missing")
    grid, facts, _ = read_header(bytes(map(int, header.text.split()[:-1])).decode())
    u = fields.pop("u").reshape(grid.points, order="F")
    return Snapshots(np.array([float(time.text)]), np.ascontiguousarray(u)[None], grid, fields, facts)


def read_collection(path: Path) -> Snapshots:
    """The snapshots of a collection of images."""
    files = [path.parent / row.attrib["file"] for row in ElementTree.parse(path).iter("DataSet")]
    images = [read_image(file) for file in files]
    times, fields = (np.concatenate([getattr(image, name) for image in images]) for name in ("times", "fields"))
    return Snapshots(times, fields, images[0].grid, images[0].histories, images[0].facts)


def _image(snapshots: Snapshots) -> bytes:
    """The bytes of an image of one time."""
    grid = snapshots.grid
    missing = 3 - grid.dimensions
    extent = " ".join(f"0 {n - 1}" for n in grid.points + (1,) * missing)
    lines = [line.tolist() for line in grid.lines(device=HOST)] + [[0.0, 1.0]] * missing
    origin = " ".join(repr(line[0]) for line in lines)
    spacing = " ".join(repr(line[1] - line[0]) for line in lines)
    blocks: list[bytes] = []
    u = _array("u", snapshots.fields[0].ravel(order="F"), blocks)
    histories = "".join(
        _array(name, values, blocks, f'NumberOfTuples="{len(values)}" ') for name, values in snapshots.histories.items()
    )
    letters = " ".join(map(str, (*snapshots.header().encode(), 0)))
    head = f"""<?xml version="1.0"?>
<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<ImageData WholeExtent="{extent}" Origin="{origin}" Spacing="{spacing}">
<FieldData>
<DataArray type="Float64" Name="TimeValue" NumberOfTuples="1" format="ascii">{snapshots.times.tolist()[0]!r}</DataArray>
<Array type="String" Name="phasefield" NumberOfTuples="1" format="ascii">{letters}</Array>
{histories}</FieldData>
<Piece Extent="{extent}">
<PointData Scalars="u">
{u}</PointData>
</Piece>
</ImageData>
"""
    return b"".join((head.encode(), _MARK, *blocks, b"</AppendedData></VTKFile>\n"))


def _array(name: str, values: np.ndarray, blocks: list[bytes], more: str = "") -> str:
    """The XML element that points to `values`, which are appended to the `blocks` of raw data."""
    kind = next((kind for kind, form in _TYPES.items() if np.dtype(form) == values.dtype), None)
    if kind is None:
        raise ValueError(f"{name}: VTK has no name for numbers of type {values.dtype}; choose one of {', '.join(_TYPES)}")
    offset = sum(map(len, blocks))
    raw = values.astype(_TYPES[kind]).tobytes()
    blocks.append(len(raw).to_bytes(8, "little") + raw)
    return f'<DataArray type="{kind}" Name="{name}" {more}format="appended" offset="{offset}"/>\n'


def _values(data: bytes, offset: int, form: str) -> np.ndarray:
    size = int.from_bytes(data[offset : offset + 8], "little")
    return np.frombuffer(data, form, size // np.dtype(form).itemsize, offset + 8).astype(np.dtype(form).newbyteorder("="))
