"""Rules of the house that a machine can hold."""

import os
import subprocess
import sys

import jsonschema
import pytest
import yaml

from paths import ROOT

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


def test_training_under_deepspeed_does_not_load_torchs_compiler():
    """It is over a second of every worker's start, and 40 MB."""
    program = """
import os, sys, torch, torch.distributed as dist
os.environ["LOCAL_RANK"] = "0"
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
from tiny_training import TinySamples, TinyTask, tiny_training
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import Splits, train
from trainshed.spec.training.engines import DeepSpeed
training = tiny_training(engine=DeepSpeed(zero_stage=2))
splits, host = Splits(TinySamples(64), TinySamples(8)), BareHost(World(0, 1, torch.device("cpu")))
_, last = train(training, TinyTask(), splits, host, metric_log=None, keeper=None)
print(last["step"] == training.steps, "torch._inductor.compile_fx" in sys.modules)
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
