"""Which files a place stands for: one rule on a disk, on an object store, on the laptop and on the cluster."""

import os

import pyarrow.fs as pafs
import pytest

from job_texts import PREPARE, changed, text
from trainshed.client.uploads import left_behind, uploads
from trainshed.record.finding import LocalDisk, StoreDisk
from trainshed.runtime.data.found import find_files
from trainshed.spec.data.matching import HIDDEN, OUTSIDE, Chosen, choose
from trainshed.spec.data.sources import Csv, Images, JsonLines, TextFiles
from trainshed.spec.load import load_files

FILES = (
    "texts/a.txt",
    "texts/sub/b.md",
    "texts/.DS_Store",
    "texts/.git/c.txt",
    "one[1]/a.txt",
    "one1/z.txt",
    "lines/a.jsonl",
    "lines/b.jsonl.gz",
    "lines/c.ndjson",
    "lines/d.CSV",
    "lines/e.tsv",
    "lines/.f.jsonl",
    "lines/g.json",
    "pictures/cat/a.JPG",
    "pictures/cat/b.webp",
    "pictures/cat/deep/c.PNG",
    "pictures/dog/d.bmp",
    "pictures/dog/e.gif",
    "pictures/dog/f.tif",
    "pictures/dog/._g.jpeg",
    "pictures/dog/plan.pkg",
    "pictures/loose.png",
)
PICTURES = ("cat/a.JPG", "cat/b.webp", "cat/deep/c.PNG", "dog/d.bmp", "dog/e.gif", "dog/f.tif")

PLACES = [
    (TextFiles, "texts", ["texts/a.txt", "texts/sub/b.md"], {HIDDEN: 2}),
    (TextFiles, "texts/*", ["texts/a.txt"], {}),
    (TextFiles, "texts/**", ["texts/a.txt", "texts/sub/b.md"], {}),
    (TextFiles, "texts/**/*.md", ["texts/sub/b.md"], {}),
    (TextFiles, "texts/.DS_Store", ["texts/.DS_Store"], {}),
    (TextFiles, "texts/.*", ["texts/.DS_Store"], {}),
    (TextFiles, "t?xts/[!b]*", ["texts/a.txt"], {}),
    (TextFiles, "one[1]", ["one[1]/a.txt"], {}),
    (TextFiles, "one[1]/*.txt", ["one[1]/a.txt"], {}),
    (TextFiles, "one[1]/a.txt", ["one[1]/a.txt"], {}),
    (TextFiles, "one*/*", ["one1/z.txt", "one[1]/a.txt"], {}),
    (TextFiles, "on[e]1/*", ["one1/z.txt"], {}),
    (TextFiles, "nothing", [], {}),
    (TextFiles, "nothing/*.txt", [], {}),
    (
        JsonLines,
        "lines",
        ["lines/a.jsonl", "lines/b.jsonl.gz", "lines/c.ndjson"],
        {HIDDEN: 1, ".CSV": 1, ".tsv": 1, ".json": 1},
    ),
    (
        Csv,
        "lines",
        ["lines/d.CSV", "lines/e.tsv"],
        {HIDDEN: 1, ".jsonl": 1, ".jsonl.gz": 1, ".ndjson": 1, ".json": 1},
    ),
    (Images, "pictures", [f"pictures/{name}" for name in PICTURES], {HIDDEN: 1, ".pkg": 1, OUTSIDE: 1}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("places [a]")  # signs in the folder above are no pattern either
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text\n")
    return root


def source_of(kind, place):
    return kind(path=place, size=4) if kind is Images else kind(path=place)


@pytest.mark.parametrize(("kind", "place", "files", "left_out"), PLACES, ids=lambda one: str(one)[:40])
@pytest.mark.parametrize("disk", [LocalDisk(), StoreDisk(pafs.LocalFileSystem())], ids=["disk", "store"])
def test_the_files_of_a_place(disk, kind, place, files, left_out, folder):
    found = choose(source_of(kind, place), f"{folder}/{place}", disk)
    assert found.files == tuple(sorted(f"{folder}/{name}" for name in files))
    assert found.left_out == left_out


@pytest.mark.parametrize(("kind", "place", "files", "left_out"), PLACES, ids=lambda one: str(one)[:40])
def test_the_laptop_and_the_cluster_find_the_same(kind, place, files, left_out, folder, monkeypatch):
    job = changed(PREPARE, source={"kind": kind.model_fields["kind"].default, "path": place})
    if kind is Images:
        job = changed(job, pack=None, tokenizer=None, source__size=4, examples={"image": "image", "label": "label"})
    (folder / "job.yaml").write_text(text(job))
    one = load_files([folder / "job.yaml"])[0]
    sent = uploads(one)
    assert sorted(map(str, sent.files.values())) == sorted(f"{folder}/{name}" for name in files)
    assert bool(left_behind(one)) == bool(left_out)
    if not files:
        return
    absolute = find_files(source_of(kind, f"{folder}/{place}"))
    assert absolute.files == sorted(f"{folder}/{name}" for name in files)
    package = folder.parent / f"package-{abs(hash((kind, place)))}"
    for name, path in sent.files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, package / name)
    monkeypatch.chdir(package)
    unpacked = find_files(source_of(kind, sent.job["source"]["path"]))
    assert len(unpacked.files) == len(files)
    assert sorted(unpacked.classes.values()) == sorted(absolute.classes.values())


def test_an_image_deep_in_a_folder_has_that_folders_class_and_a_pattern_names_its_own(folder):
    found = choose(source_of(Images, "pictures"), f"{folder}/pictures", LocalDisk())
    assert [found.class_of(path) for path in found.files] == ["cat"] * 3 + ["dog"] * 3
    pattern = choose(source_of(Images, "pictures"), f"{folder}/pictures/**/*.PNG", LocalDisk())
    assert [pattern.class_of(path) for path in pattern.files] == ["deep"]


def test_what_a_folder_holds_is_said_with_counts(folder):
    said = str(choose(source_of(Images, "pictures"), f"{folder}/pictures", LocalDisk()))
    assert said == (
        "1 .JPG, 1 .PNG, 1 .bmp, 1 .gif, 1 .tif, 1 .webp; left out: 1 .pkg, 1 hidden, 1 in no class's folder"
    )
    assert str(Chosen(())) == "nothing"


def test_pipes_links_in_a_ring_and_names_that_are_no_utf8_are_passed_by(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "in" / "link.txt").symlink_to(tmp_path / "in" / "a.txt")
    (tmp_path / "in" / "ring").symlink_to(tmp_path)
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.txt")
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w"):
        pass
    found = choose(TextFiles(path="x"), str(tmp_path), LocalDisk())
    assert found.files == (f"{tmp_path}/in/a.txt", f"{tmp_path}/in/link.txt")
    assert found.left_out == {"with a name that is no UTF-8": 1}
