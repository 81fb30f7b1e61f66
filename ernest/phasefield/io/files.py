"""Writes and reads snapshots as data files in the format of the file's ending; no bit changes on the way.

`.npz` needs nothing but numpy. `.h5` writes an `.xdmf` beside it, which ParaView opens, and needs h5py; `.zarr` needs zarr and
`.nc` netCDF4. `.pvd` is a list of times with a VTK image of each in a folder of the same name, `.vti` one image of one time;
they need no library. All files are written aside, synced and renamed: whatever stops a run, a file that is there is whole, and
those of an earlier run stay until the new ones are complete. Nothing is removed that was not written here.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ernest.phasefield.io import formats, vtk
from ernest.phasefield.io.snapshots import Snapshots
from ernest.storage import check_writable

_FORMATS = {
    ".npz": (formats.write_npz, formats.read_npz, None),
    ".h5": (formats.write_hdf5, formats.read_hdf5, "h5py"),
    ".zarr": (formats.write_zarr, formats.read_zarr, "zarr"),
    ".nc": (formats.write_netcdf, formats.read_netcdf, "netCDF4"),
    ".pvd": (vtk.write_collection, vtk.read_collection, None),
    ".vti": (vtk.write_image, vtk.read_image, None),
}
"""Writer and reader of every ending, and the library that they need."""


def write(path: Path | str, snapshots: Snapshots) -> None:
    """Writes `path` in the format of its ending; an earlier file of that name is replaced.

    Of the files that come with it, beside it or in a folder, those that were not written here are kept. Raises ValueError where
    one is in the way and for another ending, and ImportError where the format's library is missing.
    """
    path = check_path(path)
    _FORMATS[path.suffix][0](path, snapshots)


def read(path: Path | str) -> Snapshots:
    """The snapshots that `write` wrote to `path`. Raises ValueError for a file that is missing or that it did not write."""
    path = _known(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    try:
        return _FORMATS[path.suffix][1](path)
    except Exception as error:
        raise ValueError(f"{path}: not a data file of a phase-field run ({_one_line(error)})") from error


def check_path(path: Path | str) -> Path:
    """The path, if `write` can write there. Raises what it would raise, before the run."""
    path = _known(path)
    check_writable(path)
    if path.suffix != ".zarr" and path.is_dir():
        raise ValueError(f"{path} is a folder: choose another name")
    foreign = next((file for file in _in_the_way(path)), None)
    if foreign is not None:
        raise ValueError(f"{foreign} was not made by a run and would be lost: move it, or choose another name than {path.name}")
    return path


def _in_the_way(path: Path) -> Iterator[Path]:
    """Files of others where those that come with `path` will be."""
    match path.suffix:
        case ".h5" if path.with_suffix(".xdmf").exists():
            yield from [file for file in [path.with_suffix(".xdmf")] if file.is_dir() or not formats.is_xdmf_of(path, file)]
        case ".pvd" if path.with_suffix("").is_dir():
            images = path.with_suffix("").glob("[0-9][0-9][0-9][0-9]*.vti")
            yield from (file for file in images if not vtk.is_image(file))
        case ".pvd" if path.with_suffix("").exists():
            yield path.with_suffix("")
        case ".zarr" if path.is_dir():
            mine = formats.store_files(path)
            yield from (file for file in path.rglob("*") if not file.is_dir() and not mine(file))
        case ".zarr" if path.exists():
            yield path


def _known(path: Path | str) -> Path:
    """The path, if its ending names a format whose library is there."""
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise ValueError(f"{path}: a name for data ends in one of {', '.join(_FORMATS)}")
    require_package(_FORMATS[path.suffix][2], f"a {path.suffix} file")
    return path


def _one_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def require_package(package: str | None, what: str) -> None:
    """Raises ImportError, with the command that helps, unless `package` is installed; None is always there."""
    if package is not None and find_spec(package) is None:
        raise ImportError(f"{what} needs the package {package}: pip install {package}")
