"""Files and folders that are whole or not there, tensors as safetensors, and folders with one owner at a time."""

from ernest.storage.files import (
    DiskFullError,
    append_line,
    check_file,
    check_new,
    check_replaceable,
    check_writable,
    free_bytes,
    is_leftover,
    log_lines,
    read_json,
    read_log,
    remove_files,
    write_file,
    write_folder,
    write_text,
)
from ernest.storage.ownership import own_folder
from ernest.storage.tensors import Header, fingerprint, folder_fingerprint, load_tensors, read_header, save_tensors

__all__ = [
    "DiskFullError",
    "Header",
    "append_line",
    "check_file",
    "check_new",
    "check_replaceable",
    "check_writable",
    "fingerprint",
    "folder_fingerprint",
    "free_bytes",
    "is_leftover",
    "load_tensors",
    "log_lines",
    "own_folder",
    "read_header",
    "read_json",
    "read_log",
    "remove_files",
    "save_tensors",
    "write_file",
    "write_folder",
    "write_text",
]
