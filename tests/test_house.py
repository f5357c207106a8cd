"""Rules of the house that a machine can hold."""

import ast
import os
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml

from paths import ROOT
from trainshed.environment import VARIABLES
from trainshed.spec.document.part import OTHERS_SECRETS

SOURCE = ROOT / "platform" / "trainshed"
HEAVY = ("ray", "torch", "deepspeed", "transformers", "pydantic", "pyarrow", "httpx")


def test_the_source_root_is_not_a_package():
    assert not (ROOT / "platform" / "__init__.py").exists(), "platform/__init__.py would shadow the standard library"


@pytest.mark.parametrize(
    "module",
    [
        "trainshed.cli.main",
        "trainshed.spec.load",
        "trainshed.spec.sweep.capacity",
        "trainshed.runtime.tuning.trial.entry",
    ],
)
def test_start_up_imports_nothing_heavy(module):
    heavy = HEAVY if module == "trainshed.cli.main" else HEAVY[:4]
    program = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("work", ["training", "evaluation"])
def test_a_driver_of_workers_loads_neither_torch_nor_transformers(work):
    """They are seconds of every training's start; its workers load them meanwhile."""
    program = f"import sys, trainshed.runtime.__main__, trainshed.runtime.{work}.run; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"'torch'", "'transformers'", "'deepspeed'"} & set(done.stdout.strip("[]\n").split(", "))


def test_training_under_deepspeed_does_not_load_torchs_compiler():
    """It is over a second of every worker's start, and 40 MB."""
    program = """
import os, sys, torch, torch.distributed as dist
os.environ["LOCAL_RANK"] = "0"
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
from tiny_training import TinySamples, TinyTask, tiny_training
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.spec.training.engines import DeepSpeed
training = tiny_training(engine=DeepSpeed(zero_stage=2))
splits, host = Splits(TinySamples(64), TinySamples(8)), BareHost(World(0, 1, torch.device("cpu")))
task = TinyTask()
ended = train(training, task, splits, host, make_engine(training, task, host.world))
print(ended.last.step == training.steps, "torch._inductor.compile_fx" in sys.modules)
sys.stdout.flush()
os._exit(0)
"""
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines()[-1:] == ["True False"], done.stderr[-2000:]


def test_help_names_every_verb():
    done = subprocess.run([sys.executable, "-m", "trainshed.cli", "--help"], capture_output=True, text=True, check=True)
    verbs = [
        "submit",
        "check",
        "plan",
        "schema",
        "runs",
        "show",
        "logs",
        "stop",
        "resume",
        "models",
        "alias",
        "endpoints",
        "ask",
        "cluster",
        "doctor",
    ]
    assert [verb for verb in verbs if f"\n  {verb}" not in done.stdout] == []


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_of_the_platform_is_named_in_one_file_alone(name):
    """And so is read there alone: a name that is put together from parts is found by its beginning."""
    named = {str(file.relative_to(SOURCE)): _texts(file) for file in sorted(SOURCE.rglob("*.py"))}
    others = [file for file, texts in named.items() if name in texts and file != "environment.py"]
    beginnings = [file for file, texts in named.items() if any(re.fullmatch(r"PLATFORM_?", text) for text in texts)]
    assert name in named["environment.py"]
    assert others + beginnings == []


def test_every_variable_that_is_named_like_one_of_ours_is_known():
    named = {text for file in SOURCE.rglob("*.py") for text in _texts(file) if re.fullmatch(r"PLATFORM_[A-Z_]+", text)}
    assert named == set(VARIABLES)


def test_no_variable_of_the_platform_can_be_the_key_of_an_endpoint():
    assert [name for name in VARIABLES if not OTHERS_SECRETS.fullmatch(name)] == []


def _texts(file):
    """Every string of a program, and every constant part of one that is put together."""
    constants = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant))
    return {node.value for node in constants if isinstance(node.value, str)}


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("jobs/*.yaml"), *ROOT.glob("examples/*/*.yaml")]), ids=lambda file: file.name
)
def test_the_schema_accepts_the_job_files_we_ship(file):
    from trainshed.spec.job import JobDocument

    schema = JobDocument.model_json_schema()
    for document in yaml.safe_load_all(file.read_text()):
        assert list(jsonschema.Draft202012Validator(schema).iter_errors(document)) == []


def test_the_schema_refuses_an_unknown_key():
    from trainshed.spec.job import JobDocument

    document = next(yaml.safe_load_all((ROOT / "jobs/quickstart.yaml").read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "sorce": 1}, JobDocument.model_json_schema())
