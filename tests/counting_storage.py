"""A storage over a real folder whose file system writes down each listing of a folder that it is asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs

from trainshed.record.storage import Storage


class CountingFiles(pafs.FileSystemHandler):
    """The local file system, reached as a remote one is; `listed` are the folders that were listed, in order."""

    def __init__(self, root: str) -> None:
        self.root, self.listed = root, []
        self._disk = pafs.LocalFileSystem()

    def get_file_info_selector(self, selector):
        self.listed.append(str(Path(selector.base_dir).relative_to(self.root)))
        return self._disk.get_file_info(selector)

    def get_file_info(self, paths):
        return self._disk.get_file_info(paths)

    def open_input_stream(self, path):
        return self._disk.open_input_stream(path)

    def open_input_file(self, path):
        return self._disk.open_input_file(path)

    def open_output_stream(self, path, metadata):
        return self._disk.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path, metadata):
        return self._disk.open_append_stream(path, metadata=metadata)

    def create_dir(self, path, recursive):
        self._disk.create_dir(path, recursive=recursive)

    def delete_dir(self, path):
        self._disk.delete_dir(path)

    def delete_dir_contents(self, path, missing_dir_ok=False):
        self._disk.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self):
        raise NotImplementedError

    def delete_file(self, path):
        self._disk.delete_file(path)

    def move(self, src, dest):
        self._disk.move(src, dest)

    def copy_file(self, src, dest):
        self._disk.copy_file(src, dest)

    def get_type_name(self):
        return "counting"

    def normalize_path(self, path):
        return self._disk.normalize_path(path)


def counting(folder: Path) -> tuple[Storage, list[str]]:
    """The storage, and the list that grows by each folder that is listed."""
    handler = CountingFiles(str(folder))
    return Storage(str(folder), pafs.PyFileSystem(handler), str(folder)), handler.listed
