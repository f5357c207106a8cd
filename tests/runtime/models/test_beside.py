"""What lies beside a model's weights is carried over byte for byte; what a stranger put there goes nowhere."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from paths import TESTS
from task_cases import SHAPE, packed_case, tuned_case
from trainshed.errors import PlatformError
from trainshed.runtime.models import beside
from trainshed.runtime.models.beside import MOST_BYTES, MOST_FILES, files_beside
from trainshed.spec.training.models import Gpt2, Pretrained

CARRIED = {
    "generation_config.json": b'{"eos_token_id": [1, 2], "top_p": 0.9}',
    "chat_template.jinja": "{{ messages }} é".encode(),
    "preprocessor_config.json": b"{}",
    "processor_config.json": b"{}",
    "special_tokens_map.json": b'{"pad_token": "x"}',
    "added_tokens.json": b'{"x": 5}',
    "vocab.json": b"{}",
    "merges.txt": b"a b\n",
    "tokenizer.model": b"\n\x07\n\x05<unk>\x00",
    "LICENSE": b"Do as you like.",
    "LICENSE.txt": b"Do.",
    "NOTICE": b"Mine.",
    "USE_POLICY.md": b"Kindly.",
}
LEFT = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "manifest.json": b"{}",
    "model.safetensors.index.json": b"{}",
    "model.safetensors": b"x",
    "pytorch_model.bin": b"\x80\x02.",
    "training_args.bin": b"\x80\x02.",
    "modeling_x.py": b"raise SystemExit",
    "setup.sh": b"rm -rf x",
    "trainer_state.json": b"not even JSON",
    "README.md": b"# Another model",
    "odd name.json": b"{}",
    ".hidden.json": b"{}",
    "words.pkl": b"\x80\x02.",
    "other.model": b"\x80\x02.",
}


def of(folder):
    return files_beside(Pretrained(name_or_path=str(folder)))


def test_what_lies_beside_the_weights_is_carried_and_nothing_else(tmp_path):
    for name, content in {**CARRIED, **LEFT}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "deep.json").write_text("{}")
    (tmp_path / "folder.json").mkdir()
    assert dict(of(tmp_path)) == CARRIED


def test_the_folder_of_an_address_is_read_as_any_other(tmp_path):
    (tmp_path / "generation_config.json").write_bytes(CARRIED["generation_config.json"])
    found = files_beside(Pretrained(name_or_path=tmp_path.as_uri()))
    assert dict(found) == {"generation_config.json": CARRIED["generation_config.json"]}


def linked(folder):
    secret = folder.parent / "credentials.json"
    secret.write_text('{"key": "s"}')
    (folder / "generation_config.json").symlink_to(secret)


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def huge(folder):
    with (folder / "generation_config.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)


def many(folder):
    for number in range(MOST_FILES + 1):
        (folder / f"{number}.json").write_text("{}")


def four_large(folder):
    for number in range(4):
        (folder / f"{number}.json").write_bytes(b'"' + b"x" * (MOST_BYTES - 2) + b'"')


STRANGE = {
    "large files": (four_large, "over 150 MB lie beside the weights"),
    "a link that leads out": (linked, "generation_config.json: a link that leads out of the model's folder"),
    "no JSON": (written("generation_config.json", b"{'a': 1}"), "generation_config.json: cannot be read as JSON"),
    "a pickle called JSON": (written("processor_config.json", b"\x80\x02."), "cannot be read as JSON"),
    "deep JSON": (written("a.json", b"[" * 200_000), "a.json: cannot be read as JSON"),
    "a pickle called a tokenizer": (written("tokenizer.model", b"\x80\x02."), "no sentencepiece model"),
    "an archive called a tokenizer": (written("spiece.model", b"PK\x03\x04"), "no sentencepiece model"),
    "bytes called a template": (written("chat_template.jinja", b"\0\1"), "holds bytes that are no text"),
    "a huge file": (huge, "generation_config.json: over 50 MB"),
    "very many files": (many, "101 files lie beside the weights"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_a_stranger_left_is_refused_in_one_line(name, tmp_path):
    make, said = STRANGE[name]
    folder = tmp_path / "model"
    folder.mkdir()
    make(folder)
    with pytest.raises(PlatformError) as caught:
        of(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_refused_before_the_first_step(tmp_path):
    case = tuned_case(tmp_path / "tokenizer")
    (tmp_path / "existing" / "generation_config.json").write_text("{")
    with pytest.raises(PlatformError, match=r"generation_config.json: cannot be read as JSON"):
        case.task.make_model()


OF_HUB = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from task_cases import tuned_case, training, packed_case
from trainshed.runtime import tasks
from trainshed.spec.training.models import Gpt2, Pretrained
from trainshed.spec.training.tasks import CausalLm
folder = Path(sys.argv[2])
case = packed_case(folder / "tokenizer", Gpt2(layers=1, heads=2, width=32))
task = tasks.build(training(CausalLm(), Pretrained(name_or_path="org/model")), case.facts)
state = dict(task.make_model().state_dict())
parts = task.make_in_parts(lambda part, *, layer: None).state_dict()
assert list(parts) == list(state) and all(parts[name].equal(one) for name, one in state.items())
(folder / "out").mkdir()
task.export(state, folder / "out")
"""


def test_the_files_of_a_hub_name_are_carried_from_its_cache(tmp_path):
    """As a machine without a network has it; there files are links to where the hub's client keeps them."""
    case = packed_case(tmp_path / "tokenizer", Gpt2(**SHAPE))
    there = tmp_path / "there"
    there.mkdir()
    case.task.export(case.task.make_model().state_dict(), there)
    AutoModelForCausalLM.from_pretrained(there, dtype="bfloat16").save_pretrained(there)
    (there / "generation_config.json").write_bytes(CARRIED["generation_config.json"])
    (there / "chat_template.jinja").write_bytes(CARRIED["chat_template.jinja"])
    cache = tmp_path / "hub" / "models--org--model"
    snapshot = cache / "snapshots" / ("a" * 40)
    for folder in (snapshot, cache / "blobs", cache / "refs"):
        folder.mkdir(parents=True)
    (cache / "refs" / "main").write_text("a" * 40)
    for file in there.iterdir():
        blob = cache / "blobs" / file.name
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blob)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    (tmp_path / "tokenizer").rename(tmp_path / "tokenizer-of-there")
    done = subprocess.run(
        [sys.executable, "-c", OF_HUB, str(TESTS), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "out"
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [
        1,
        2,
        0,
    ]  # and the tokenizer's own
    assert (out / "chat_template.jinja").read_bytes() == CARRIED["chat_template.jinja"]
    assert {str(tensor.dtype) for tensor in load_file(out / "model.safetensors").values()} == {"torch.bfloat16"}


def test_the_file_names_that_are_fetched_from_a_hub_are_those_that_are_carried():
    import fnmatch

    wanted = [name for name in CARRIED if any(fnmatch.fnmatch(name, one) for one in beside.WANTED_OF_HUB)]
    assert wanted == list(CARRIED)
