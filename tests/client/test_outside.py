"""What a job names outside itself and that cannot work: found by `check`, each at its key, before anything starts."""

import os
import re
import socket

import pytest

from job_texts import PREPARE, TRAIN, changed, text
from submitting import checked
from trainshed.client.outside import address_fault, template_fault
from trainshed.errors import SpecError
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files


def faults(folder, *jobs, local=True):
    file = folder / "job.yaml"
    file.write_text(text(*jobs))
    try:
        checked(load_files([file]), Storage.open(folder / "storage"), local=local)
    except SpecError as error:
        return [str(fault).removeprefix(f"{file}:") for fault in error.faults]
    return []


def prepared_from(place, **fields):
    return changed(PREPARE, source={"kind": "text_files", "path": str(place)}, **fields)


def listening(path):
    there = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(there)


PLACES = {
    "an unknown scheme": ("ftp://host/texts", "nothing opens 'ftp'"),
    "a misspelt scheme": ("s4://bucket/texts", "nothing opens 's4'; known here: abfs"),
    "a bucket without a name": ("s3://", "names nothing behind s3://"),
    "a home": ("~/texts/*.txt", "`~` is a shell's word and is not expanded; write"),
    "a device": ("/dev/zero", "is a device; a source is files"),
    "a control character": ("texts\x07/*.txt", "holds a control character"),
    "an absolute path that is not there": ("/no/such/folder", "no file matches '/no/such/folder' on this machine"),
    "an absolute pattern that matches nothing": ("/no/such/*.txt", "no file matches '/no/such/*.txt' on this machine"),
    "a relative path that is not there": ("no/such.txt", "no file matches 'no/such.txt'"),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_source_that_cannot_work_is_found_at_its_key(tmp_path, case):
    place, said = PLACES[case]
    (found,) = faults(tmp_path, prepared_from(place))
    assert re.match(r"5: source\.path: ", found)
    assert said in found


@pytest.mark.parametrize("make", [os.mkfifo, listening], ids=["pipe", "socket"])
@pytest.mark.parametrize("relative", [True, False])
def test_what_is_no_file_and_no_folder_is_named(tmp_path, make, relative):
    make(tmp_path / "thing")
    (found,) = faults(tmp_path, prepared_from("thing" if relative else tmp_path / "thing"))
    assert found.endswith("; a source is files, a folder of them or a pattern")


@pytest.mark.parametrize("relative", [True, False])
def test_empty_files_are_said_and_one_that_is_not_is_enough(tmp_path, relative):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").touch()
    place = "texts/*.txt" if relative else folder / "*.txt"
    assert faults(tmp_path, prepared_from(place))[0].endswith("the file is empty")
    (folder / "b.txt").touch()
    assert faults(tmp_path, prepared_from(place))[0].endswith("all 2 files are empty")
    (folder / "b.txt").write_text("words")
    assert faults(tmp_path, prepared_from(place)) == []


def test_an_absolute_path_of_another_machine_is_left_to_the_cluster(tmp_path):
    assert faults(tmp_path, prepared_from("/no/such/folder"), local=False) == []
    assert faults(tmp_path, prepared_from("/dev/zero"), local=False) == []
    assert "nothing opens 's4'" in faults(tmp_path, prepared_from("s4://bucket/texts"), local=False)[0]


def test_every_place_of_a_job_is_looked_at(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    source = {"kind": "text_files", "path": "a.txt", "validation": "~/b.txt", "test": "nfs://x/c.txt"}
    tokenizer = {"kind": "pretrained", "name_or_path": "/no/such/model"}
    found = faults(tmp_path, changed(PREPARE, source=source, tokenizer=tokenizer))
    keys = [fault.split(": ")[1] for fault in found]
    assert sorted(keys) == ["source.test", "source.validation", "tokenizer.name_or_path"]
    model = {"kind": "pretrained", "name_or_path": "s5://bucket/model"}
    data = changed(PREPARE, tokenizer=model)
    found = faults(tmp_path, data, changed(TRAIN, model=model))
    assert [fault.split(": ")[1] for fault in found] == ["tokenizer.name_or_path", "model.name_or_path"]
    assert all("nothing opens 's5'" in fault for fault in found)


TEMPLATES = {
    "{% for m in messages %}{{ m.content }}": "Unexpected end of template",
    "{{ messages[0].content": "unexpected end of template",
    "{% nosuch %}": "Encountered unknown tag 'nosuch'",
    "line one\n{{ }}": "(line 2 of the template)",
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", [{"kind": "train_bpe", "vocab_size": 300}, {"kind": "characters"}])
def test_a_chat_template_that_does_not_parse_is_found(tmp_path, template, kind):
    (found,) = faults(tmp_path, changed(PREPARE, tokenizer={**kind, "chat_template": template}))
    assert "tokenizer.chat_template: does not parse: " in found
    assert TEMPLATES[template] in found


def test_templates_that_transformers_renders_parse():
    for template in (
        "{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}{{ m.content | trim }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{{ bos_token }}{{ raise_exception('no') if not messages }}{{ strftime_now('%Y') }}{{ tools | tojson }}",
    ):
        assert template_fault(template) is None


def test_addresses_that_can_be_opened_are_no_faults():
    for place in ("texts", "/a/b", "s3://bucket/x", "gs://bucket", "file:///a", "hf://datasets/a/b", "a~b"):
        assert address_fault(place) is None
