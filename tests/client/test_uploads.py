"""What goes up with a job, and what is found missing before it does."""

import gzip

import pytest

from job_texts import PREPARE, TRAIN, changed, text
from trainshed.client.uploads import upload_faults, uploads
from trainshed.errors import PlatformError
from trainshed.runtime.data.found import find_files, hash_files
from trainshed.runtime.data.reader import SampleReader
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.rows import BadRow
from trainshed.spec.data.sources import Csv
from trainshed.spec.load import load_files

CSV = changed(
    PREPARE,
    pack=None,
    examples={"text": "text", "label": "label"},
    source={"kind": "csv", "path": "data/train.csv", "validation": "data/dev.csv"},
)
IMAGES = {
    "kind": "prepare",
    "name": "pictures",
    "source": {"kind": "images", "path": "pictures", "size": 4},
    "examples": {"image": "image", "label": "label"},
}
CUSTOM = changed(TRAIN, task={"kind": "custom", "path": "mine:MyTask"})


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def load(folder, *jobs):
    (folder / "job.yaml").write_text(text(*jobs))
    return load_files([folder / "job.yaml"])


def test_every_place_of_a_source_goes_up(tmp_path):
    write(tmp_path, {"data/train.csv": "text,label\na,1\n", "data/dev.csv": "text,label\nb,0\n"})
    made = uploads(load(tmp_path, CSV)[0])
    assert sorted(made.files) == ["source/text/path/000000-train.csv", "source/text/validation/000000-dev.csv"]
    assert made.job["source"]["path"] == "source/text/path/*"
    assert made.job["source"]["validation"] == "source/text/validation/*"


def test_images_go_up_in_the_folders_that_name_their_classes(tmp_path):
    write(tmp_path, {"pictures/cat/a.png": "1", "pictures/dog/a.png": "2", "pictures/notes.txt": "3"})
    made = uploads(load(tmp_path, IMAGES)[0])
    assert sorted(made.files) == ["source/pictures/path/cat/000000-a.png", "source/pictures/path/dog/000001-a.png"]
    assert made.job["source"]["path"] == "source/pictures/path/*/*"


def test_an_absolute_place_stays_where_it_is(tmp_path):
    made = uploads(load(tmp_path, changed(CSV, source__path="/data/train.csv", source__validation="s3://b/dev.csv"))[0])
    assert made.files == {}
    assert made.job["source"]["path"] == "/data/train.csv"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"data/train.csv": "text,label\n"}, "source.validation: no file matches 'data/dev.csv'"),
        (
            {"data/train.csv": "text,label\n", "data/dev.csv": "txt,label\n"},
            "examples.text: dev.csv has no column 'text'; did you mean 'txt'?",
        ),
        (
            {"data/train.csv": "", "data/dev.csv": ""},
            "examples.text: train.csv has no column 'text'; the file is empty",
        ),
    ],
)
def test_a_file_or_column_that_is_not_there_is_found_here(files, said, tmp_path):
    write(tmp_path, files)
    found = upload_faults(load(tmp_path, CSV)[0])
    assert len(found) == 1
    assert said in str(found[0])


@pytest.mark.parametrize(
    ("source", "content", "said"),
    [
        ({}, b"\xef\xbb\xbftext,label\r\n", None),
        ({"encoding": "utf-16"}, "text,label\n".encode("utf-16"), None),
        ({"quotes": False}, b'"text,label\n', "has no column 'text'"),
        ({}, b"te\xfft,label\n", "source.path: train.csv:1: 0xff is no utf-8; is `source.encoding` another?"),
        ({}, b"\x89PNG\r\n", "source.path: train.csv: expected text, found a PNG image"),
        ({"path": "data/*.gz"}, gzip.compress(b"text,label\n", mtime=0), None),
        ({"path": "data/*.gz"}, b"no gzip", "source.path: train.csv.gz: damaged gzip"),
    ],
)
def test_a_header_is_read_here_as_the_cluster_reads_it(source, content, said, tmp_path):
    """Each of these was refused here and taken there, or the other way round."""
    path = {"path": "data/train.csv", **source}["path"]
    file = tmp_path / (path.replace("*", "train.csv"))
    file.parent.mkdir()
    file.write_bytes(content)
    job = changed(CSV, source={"kind": "csv", "path": "data/train.csv"} | source)
    found = [str(fault) for fault in upload_faults(load(tmp_path, job)[0])]
    assert (said in found[0]) if said else found == []
    there = find_files(Csv(path=str(file)))
    taken = SampleReader(PrepareJob.model_validate(job), there)
    assert bool([row for row in taken.read(content, there.files[0]) if isinstance(row, BadRow)]) == bool(
        said and "no column" not in said
    )


def test_what_cannot_be_read_is_one_line(tmp_path):
    """This file says that it is a file and gives an error when it is read."""
    (tmp_path / "memory.csv").symlink_to("/proc/self/mem")
    found = upload_faults(load(tmp_path, changed(CSV, source={"kind": "csv", "path": "memory.csv"}))[0])
    assert "source.path: 'memory.csv' cannot be read: " in str(found[0])
    with pytest.raises(PlatformError, match=r"memory\.csv: cannot be read: "):
        hash_files(find_files(Csv(path=str(tmp_path / "memory.csv"))))


def test_the_module_of_a_custom_task_goes_up(tmp_path):
    write(tmp_path, {"mine.py": "class MyTask: ...\n"})
    one = load(tmp_path, CUSTOM)[0]
    assert upload_faults(one) == []
    assert uploads(one).files == {"mine.py": tmp_path / "mine.py"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "task.path: no mine.py beside the job file"),
        ("class MyTsk: ...\n", "task.path: mine.py has no class 'MyTask'; did you mean 'MyTsk'?"),
        ("x = 1\n", "task.path: mine.py has no class 'MyTask'; it defines no class"),
        ("class MyTask(:\n", "task.path: mine.py cannot be read as Python"),
    ],
)
def test_a_custom_task_that_cannot_be_loaded_is_found_here(content, said, tmp_path):
    write(tmp_path, {} if content is None else {"mine.py": content})
    found = upload_faults(load(tmp_path, CUSTOM)[0])
    assert [said in str(fault) for fault in found] == [True]
