"""Storage: whole files or none, on a local disk and on a file system that is not one."""

import threading

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from trainshed.errors import UsageError
from trainshed.record.journal import Journal, read_lines
from trainshed.record.storage import Storage


@pytest.fixture(params=["local", "object store"])
def storage(request, tmp_path):
    if request.param == "local":
        return Storage.open(tmp_path)
    fs = pafs.PyFileSystem(pafs.FSSpecHandler(MemoryFileSystem(skip_instance_cache=True)))
    return Storage(f"memory://{tmp_path.name}", fs, f"/{tmp_path.name}")


def test_what_is_written_is_read(storage):
    storage.write_json("a/b.json", {"x": 1})
    storage.write_json("a/b.json", {"x": 2})
    assert storage.read_json("a/b.json") == {"x": 2}
    assert storage.names("a") == ["b.json"]
    assert storage.read_json("a/none.json") is None
    assert storage.names("none") == []


def test_a_name_is_created_once(storage):
    assert storage.create("models/1.json", b"first")
    assert not storage.create("models/1.json", b"second")
    assert storage.read("models/1.json") == b"first"
    assert storage.names("models") == ["1.json"]


def test_a_journal_grows_and_keeps_what_an_earlier_one_wrote(storage):
    for number in range(3):
        journal = Journal(storage, "run/events.jsonl")
        journal.json({"n": number})
        journal.close()
    assert [row["n"] for row in read_lines(storage, "run/events.jsonl")] == [0, 1, 2]


def test_a_full_disk_costs_a_journal_nothing_until_it_is_closed():
    journal = Journal(Storage.open("/dev"), "full")
    journal.json({"n": 1})
    journal.json({"n": 2})
    with pytest.raises(OSError, match="No space left"):
        journal.close()


def test_a_store_that_fails_for_a_while_costs_a_journal_no_line(tmp_path, monkeypatch):
    monkeypatch.setattr("trainshed.record.journal.REWRITE_S", 0.0)
    store = Storage("file://", pafs.PyFileSystem(pafs.FSSpecHandler(LocalFileSystem(auto_mkdir=True))), str(tmp_path))
    journal = Journal(store, "run/events.jsonl")
    (tmp_path / "run").write_text("a file where the folder should be: nothing can be written under it")
    journal.json({"n": 1})
    journal.json({"n": 2})
    (tmp_path / "run").unlink()
    journal.json({"n": 3})
    assert [row["n"] for row in read_lines(store, "run/events.jsonl")] == [1, 2, 3]
    journal.close()


def test_a_half_written_last_line_is_left_out(storage):
    storage.write("run/events.jsonl", b'{"n": 1}\n{"n": ')
    assert read_lines(storage, "run/events.jsonl") == [{"n": 1}]


def test_a_folder_goes_up_and_comes_down(storage, tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "x.bin").write_bytes(b"\x00\x01")
    storage.upload(tmp_path / "from", "up/there")
    assert (storage.download("up/there", tmp_path / "to") / "x.bin").read_bytes() == b"\x00\x01"


def test_deleting_what_is_not_there_is_no_error(storage):
    storage.delete("none.json")
    storage.write("some.json", b"{}")
    storage.delete("some.json")
    assert not storage.exists("some.json")


def test_of_many_at_once_one_creates_a_name(tmp_path):
    storage, won = Storage.open(tmp_path), []
    start = threading.Barrier(8)

    def race(number):
        start.wait()
        if storage.create("x", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in won] == [storage.read("x")]


def test_an_address_that_no_file_system_knows_is_refused():
    with pytest.raises(UsageError, match="PLATFORM_STORAGE: nowhere://x"):
        Storage.open("nowhere://x")
