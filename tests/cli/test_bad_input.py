"""Wrong job files: one line a fault with file and line, exit code 2, no traceback, nothing written."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from trainshed.cli.main import run

SERVE = {"kind": "serve", "name": "answers", "model": "model@latest", "auth": {"keys": ["PLATFORM_API_KEY"]}}
BOMB = "kind: prepare\nname: x\na: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{former}'] * 10)}]\n" for former, name in zip("abcdef", "bcdefg", strict=True)
)

WRONG = {
    "an unknown key": (text(changed(PREPARE, sorce={})), "sorce: unknown key; did you mean 'source'?"),
    "a wrong type": (text(changed(TRAIN, steps="ten")), 'steps: expected a whole number, got "ten"'),
    "a missing key": (text(changed(PREPARE, source=None)), "source: missing"),
    "missing data files": (text(changed(PREPARE, source__path="no/such/*.txt")), "source.path: no file matches"),
    "a run that does not exist": (text(TRAIN), "data: run://text is neither an earlier document here nor a run"),
    "a model that does not exist": (text(SERVE), "model: no model 'model' is registered"),
    "negative steps": (text(changed(TRAIN, steps=-1)), "steps: input should be greater than or equal to 1, got -1"),
    "a batch that does not divide": (text(changed(TRAIN, global_batch_size=6)), "global_batch_size must be a multiple"),
    "an unknown schedule": (
        text(changed(TRAIN, schedule__kind="cosin")),
        "unknown kind 'cosin'; did you mean 'cosine'?",
    ),
    "an unknown job kind": (text(changed(TRAIN, kind="trian")), "kind: unknown kind 'trian'; did you mean 'train'?"),
    "no kind": (
        text(changed(TRAIN, kind=None)),
        "kind: missing; say prepare, reference, tune, train, evaluate or serve",
    ),
    "YAML that does not parse": ("kind: [train\nname: x\n", ":2: not YAML:"),
    "deep nesting": ("kind: train\nname: " + "[" * 2000 + "]" * 2000 + "\n", ":2: the document expands to too much"),
    "a number of 6,000 digits": (text(TRAIN).replace("steps: 10", "steps: " + "9" * 6000), "steps: 99999999"),
    "an octal number of YAML 1.1": (text(TRAIN).replace("steps: 10", "steps: 010"), "steps: 010 has a leading zero"),
    "a merge key": (text(TRAIN) + "<<: {seed: 1}\n", "merge keys (<<) are not in YAML 1.2"),
    "a list as kind": (text(changed(TRAIN, kind=["train"])), 'kind: kind is one word, got ["train"]'),
    "an empty kind": (text(TRAIN).replace("kind: train", "kind:"), "kind: kind is empty"),
    "a duplicate key": ("kind: prepare\nname: a\nname: b\n", ":3: name: the key stands twice, first on line 2"),
    "an anchor bomb": (BOMB, "the document expands to too much"),
    "a python tag": (
        "kind: !!python/object/apply:os.system [echo]\n",
        "is not allowed; a job file holds plain data only",
    ),
    "an empty file": ("", ":1: the file holds no document"),
    "a list": ("- kind: train\n", "a document is a mapping that starts with `kind:`"),
    "a range upside down": (
        text(PREPARE, changed(TUNE, space={"optimizer.learning_rate": {"uniform": [1.0, 0.1]}})),
        "uniform is [low, high] with low under high",
    ),
    "an empty space": (text(PREPARE, changed(TUNE, space={})), "space: "),
    "a name given twice": (text(PREPARE, PREPARE), "'text' is taken by"),
    "a name that is no folder": (text(changed(PREPARE, name="../up")), 'name: got "../up"'),
    "a key's value instead of its name": (
        text(changed(SERVE, auth={"keys": ["sk-123456"]})),
        "auth.keys.0: not the name of a secret (like PLATFORM_API_KEY); write its name, never its value",
    ),
    "heads that do not divide the width": (text(changed(TRAIN, model__heads=3)), "width must be a multiple of heads"),
    "warm-up longer than the training": (
        text(changed(TRAIN, schedule__warmup_steps=11)),
        "schedule.warmup_steps must not be over steps: 11 is over 10",
    ),
    "infinity": (text(changed(TRAIN, optimizer__learning_rate=float("inf"))), "expected a finite number"),
    "not text": (b"\xff\xfe\x00k", "cannot be read as text"),
}


def platform(home, *arguments):
    """The command in this process: what it prints, and its exit code; an error that is none of ours is raised."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("PLATFORM_HOME", str(home))
        patch.setenv("PLATFORM_STORAGE", str(home / "storage"))
        patch.setattr(sys, "argv", ["platform", *arguments])
        with pytest.raises(SystemExit) as ended:
            run()
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_job_file_is_refused(case, tmp_path):
    content, said = WRONG[case]
    file, home = tmp_path / "job.yaml", tmp_path / "home"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = platform(home, "submit", str(file))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert all(str(file) in line for line in lines), "every fault is one line that names the file"
    assert len(lines) == 1, "one mistake, one line"
    assert [path for path in home.rglob("*") if path.is_file()] == [], "nothing is written"


def test_the_command_itself_ends_so(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(text(changed(PREPARE, sorce={})))
    command = [sys.executable, "-m", "trainshed.cli", "submit", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PLATFORM_HOME": str(tmp_path / "home")}
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {file}:{len(text(PREPARE).splitlines()) + 1}: sorce: unknown key; did you mean 'source'?\n",
    )


def test_a_file_that_is_not_there_is_refused(tmp_path):
    done = platform(tmp_path, "check", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stderr.strip()) == (2, f"error: {tmp_path}/none.yaml: no such file")


def test_what_the_plan_refuses_has_its_own_exit_code(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(text(PREPARE, changed(TRAIN, workers__memory_gb=0.0001)))
    done = platform(tmp_path, "plan", str(file))
    assert done.returncode == 3
    assert "workers.memory_gb" in done.stderr


def test_a_dry_run_starts_nothing(tmp_path):
    file, home = tmp_path / "job.yaml", tmp_path / "home"
    file.write_text(text(PREPARE, TRAIN))
    done = platform(home, "submit", str(file), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "ZeRO-2" in done.stdout
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_what_a_folder_keeps_back_is_said(tmp_path):
    for name in ("pictures/cat/a.JPG", "pictures/cat/._a.JPG", "pictures/loose.png", "pictures/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    source = {"kind": "images", "path": "pictures", "size": 4}
    job = changed(PREPARE, source=source, tokenizer=None, pack=None, examples={"image": "image", "label": "label"})
    (tmp_path / "job.yaml").write_text(text(job))
    done = platform(tmp_path / "home", "check", str(tmp_path / "job.yaml"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ("text: source.path: 1 .JPG; left out: 1 .txt, 1 hidden, 1 in no class's folder\n")
