"""One file that is damaged, gone or a stranger's: every verb shows what is whole, and one line for what is not."""

import copy
import errno
import json
import math
import os
import shutil
import subprocess
import sys

import psutil
import pytest

from cli.calling import call
from cli.small_storage import ANSWERS, DATA, DOCUMENTS, MODEL, OTHER, SWEEP, made_in
from job_texts import text
from trainshed.record.facts import VersionFacts, what_is_whole
from trainshed.record.registry import register
from trainshed.record.run import now
from trainshed.record.storage import Storage

VERBS = {
    "runs": ["runs"],
    "show a sweep": ["show", SWEEP],
    "show a training": ["show", "model", "--json"],
    "draw a training": ["show", "model"],
    "show data": ["show", "text"],
    "show an endpoint": ["show", "answers"],
    "logs": ["logs", "model"],
    "events": ["logs", "model", "--json"],
    "sweeps": ["sweeps", "list"],
    "trials": ["sweeps", "show", "sweep", "--once"],
    "models": ["models"],
    "alias": ["alias", "tales@1", "staging"],
    "endpoints": ["endpoints"],
    "an endpoint": ["endpoints", "answers"],
    "ask": ["ask", "answers", "import"],
    "stop a run": ["stop", "model"],
    "stop an endpoint": ["stop", "answers"],
    "resume": ["resume", "other", "--set", "workers.memory_gb=0.0001"],
    "check": ["check", "job.yaml"],
    "plan": ["plan", "job.yaml"],
    "submit": ["submit", "job.yaml", "--dry-run"],
    "doctor": ["doctor"],
    "status": ["cluster", "status"],
}
WHOLE = dict.fromkeys(VERBS, 0) | {"ask": 1, "stop a run": 2, "stop an endpoint": 2, "resume": 3, "status": 2}
"""Exit codes where nothing is damaged: nothing answers, nothing runs, and the resumed training does not fit."""
LISTS = {
    "runs": [DATA, SWEEP, MODEL, ANSWERS, OTHER],
    "sweeps": [SWEEP],
    "trials": ["trial-00000", "trial-00001"],
    "models": ["tales@1", "tales@2", "others@1"],
    "endpoints": ["answers", "former"],
}
"""What each list shows."""
LOOKED_UP = ("runs", "show a training", "draw a training", "logs", "stop a run", "resume", "check")
"""Verbs that look every run up."""
OF_A_SWEEP = ("runs", "show a sweep", "sweeps", "trials", "check")
OF_A_RUN = ("runs", "show a training", "draw a training", "logs", "stop a run")
OF_AN_ENDPOINT = ("endpoints", "an endpoint", "ask", "stop an endpoint")
FILES = {
    f"runs/{DATA}/job.json": ([DATA], (*LOOKED_UP, "show data")),
    f"runs/{DATA}/result.json": ([], ("runs", "show data", "check")),
    f"runs/{SWEEP}/job.json": ([SWEEP, "trial-00000", "trial-00001"], (*LOOKED_UP, *OF_A_SWEEP)),
    f"runs/{SWEEP}/result.json": ([], OF_A_SWEEP),
    f"runs/{SWEEP}/spent.json": ([], ("trials",)),
    f"runs/{SWEEP}/trials/trial-00001/trial.json": (["trial-00001"], ("trials",)),
    f"runs/{SWEEP}/trials/trial-00001/ended.json": ([], ("trials",)),
    f"runs/{SWEEP}/trials/trial-00001/metrics.jsonl": (["trial-00001"], ("trials",)),
    f"runs/{MODEL}/job.json": ([MODEL], LOOKED_UP),
    f"runs/{MODEL}/result.json": ([], OF_A_RUN),
    f"runs/{MODEL}/lineage.json": ([], OF_A_RUN),
    f"runs/{MODEL}/metrics.jsonl": ([], OF_A_RUN),
    f"runs/{MODEL}/events.jsonl": ([], ("events", *OF_A_RUN)),
    f"runs/{ANSWERS}/job.json": ([ANSWERS], (*LOOKED_UP, "show an endpoint", "stop an endpoint")),
    f"runs/{ANSWERS}/result.json": ([], ("runs", "show an endpoint", "stop an endpoint")),
    f"runs/{OTHER}/job.json": ([OTHER], LOOKED_UP),
    f"runs/{OTHER}/result.json": ([], ("runs", "resume")),
    "models/tales/versions/2.json": (["tales@2"], ("models", "alias", "check")),
    "models/tales/aliases/production.json": ([], ("models", "alias")),
    "endpoints/answers.json": (["answers"], OF_AN_ENDPOINT),
    "cluster/state.json": ([], ("stop a run", "resume", "status", "check")),
    "secrets/PLATFORM_API_KEY": ([], ("ask",)),
    "secrets/addresses.json": ([], ("ask",)),
}
"""Every kind of file that a verb reads; what a list may leave out when it is damaged, and the verbs that read it."""
MAY_BE_SILENT = (".jsonl", "PLATFORM_API_KEY")
"""A journal's last line may be half written, and a key is any text."""


def emptied(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path):
    path.write_bytes(bytes(range(256)) * 2)


def another_type(path):
    path.write_bytes(b"[1, 2]\n" * (3 if path.suffix == ".jsonl" else 1))


def gone(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def unreadable(path):
    """For the superuser too, who may read what has no mode."""
    path.unlink()
    path.symlink_to(path.name)


WAYS = [emptied, cut, garbage, another_type, gone, a_folder, unreadable]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    made_in(root)
    (root / "job.yaml").write_text(text(*DOCUMENTS))
    return root


@pytest.fixture
def storage(whole, tmp_path, monkeypatch):
    """A copy to break."""
    root = tmp_path / "s"
    shutil.copytree(whole, root)
    monkeypatch.setenv("PLATFORM_HOME", str(root))
    monkeypatch.setenv("PLATFORM_STORAGE", str(root))
    for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_API_KEY", "PLATFORM_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(root)
    return root


def every_verb(capsys, *, verbs=tuple(VERBS), left_out=()):
    """Runs verbs; every list shows what is whole, every exit code is documented; what was said on stderr."""
    said = {}
    for name in verbs:
        done = call(capsys, *VERBS[name])
        also = () if name in ("runs", "sweeps", "models", "endpoints") else (1, 2)
        assert done.code in (WHOLE[name], *also), (name, done)
        if done.code == 0:
            missing = [row for row in LISTS.get(name, ()) if row not in done.out and row not in left_out]
            assert missing == [], (name, done)
        assert "Traceback" not in done.err
        said[name] = done.err
    return said


def test_what_is_whole_has_nothing_said_of_it(storage, capsys):
    said = every_verb(capsys)
    for name in VERBS:
        assert call(capsys, *VERBS[name]).code in (WHOLE[name], int(name == "doctor"))  # it judges this machine
        assert "passed over" not in said[name]


def broken(storage, capsys, file, way, verbs):
    """Runs verbs over a storage with one file broken, and mends it."""
    kept, (left_out, _) = (storage / file).read_bytes(), FILES[file]
    way(storage / file)
    said = every_verb(capsys, verbs=verbs, left_out=left_out)
    for name, lines in said.items():
        assert sum(file in line for line in lines.splitlines()) <= 1, (way.__name__, name, lines)
    if (storage / file).is_dir():
        (storage / file).rmdir()
    else:
        (storage / file).unlink(missing_ok=True)
    (storage / file).write_bytes(kept)
    return "".join(said.values())


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_costs_no_more_than_itself(file, storage, capsys):
    """Every way for the verbs that read it, and one of the ways, another for each file, for every verb."""
    for way in WAYS:
        said = broken(storage, capsys, file, way, FILES[file][1])
        assert file in said or way is gone or file.endswith(MAY_BE_SILENT), (way.__name__, said)
    broken(storage, capsys, file, WAYS[list(FILES).index(file) % len(WAYS)], tuple(VERBS))


@pytest.mark.faults
@pytest.mark.parametrize("file", FILES)
def test_every_verb_bears_every_way_of_damage(file, storage, capsys):
    for way in WAYS:
        assert "Traceback" not in broken(storage, capsys, file, way, tuple(VERBS))


OF_A_KIND = [
    file
    for file in FILES
    if file.endswith(".json") and not file.startswith(tuple(f"runs/{run}/job" for run in (DATA, ANSWERS, OTHER)))
]


@pytest.mark.parametrize("file", OF_A_KIND)
def test_a_key_that_is_gone_or_of_another_type_costs_no_more_than_its_file(file, storage, capsys):
    """Each key of the file, and each of the mappings right in it."""
    whole, (left_out, verbs) = json.loads((storage / file).read_text()), FILES[file]
    verbs = verbs[:3]  # one is enough to see that the file is read by its type
    for path in paths_in(whole):
        for change in (removed, of_another_type):
            (storage / file).write_text(json.dumps(change(whole, path)))
            assert set(every_verb(capsys, verbs=verbs, left_out=left_out)) == set(verbs)


def paths_in(value):
    for key, inner in value.items():
        yield (key,)
        if isinstance(inner, dict):
            yield from ((key, below) for below in inner)


def removed(whole, path):
    value = copy.deepcopy(whole)
    place = value if len(path) == 1 else value[path[0]]
    del place[path[-1]]
    return value


def of_another_type(whole, path):
    value = copy.deepcopy(whole)
    place = value if len(path) == 1 else value[path[0]]
    place[path[-1]] = {"x": [None]} if not isinstance(place[path[-1]], dict) else 5
    return value


@pytest.mark.parametrize("name", [b".DS_Store", b"._a", b"notes.txt", b"\xff\xfe", b"Thumbs.db", "näme 1".encode()])
@pytest.mark.parametrize("folder", [False, True])
def test_what_is_no_file_of_ours_is_passed_over(name, folder, storage, capsys):
    places = ["runs", f"runs/{SWEEP}/trials", "models", "models/tales/versions", "models/tales/aliases", "endpoints"]
    for place in places:
        path = os.path.join(os.fsencode(storage / place), name)
        if folder:
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                file.write(b"\x00\x01")
    said = every_verb(capsys)
    hidden = name.startswith(b".")
    for verb in ("runs", "trials", "models", "endpoints"):
        assert ("passed over" in said[verb]) != hidden, (verb, said[verb])


@pytest.mark.parametrize("place", ["runs", f"runs/{SWEEP}/trials", "models", "models/tales/versions", "endpoints"])
@pytest.mark.parametrize("way", [a_folder, unreadable, emptied])
def test_a_folder_that_is_none_is_one_line(place, way, storage, capsys):
    shutil.rmtree(storage / place)
    (storage / place).touch()
    way(storage / place)
    for name, arguments in VERBS.items():
        done = call(capsys, *arguments)
        assert done.code in (0, 1, 2, WHOLE[name]), (name, done)
        assert done.code == 0 or done.err, (name, done)


@pytest.mark.parametrize("verb", ["runs", "models", "endpoints", "doctor", "stop a run", "plan", "status"])
def test_a_home_or_storage_that_is_none_is_one_line(verb, storage, capsys, monkeypatch):
    """A file on the way, a loop, bytes that are no UTF-8, a folder that nobody may make."""
    (storage / "loop").symlink_to("loop")
    places = [
        storage / "job.yaml" / "below",
        storage / "loop" / "below",
        "/proc/none/below",
        "~nobody-of-this-name/x",
        b"/tmp/\xff\xfe",
    ]
    for place in places:
        for name in ("PLATFORM_HOME", "PLATFORM_STORAGE"):
            with monkeypatch.context() as patch:
                patch.setitem(os.environ, name, os.fsdecode(place))
                done = call(capsys, *VERBS[verb])
            assert done.code in (0, 1, 2), done
            one_line = done.code == 0 or verb in ("doctor", "plan")  # these have a line for each thing that is wrong
            assert one_line or len(done.err.splitlines()) == 1, done
            assert "Traceback" not in done.err


def test_a_model_that_was_registered_on_another_metric_is_listed_with_it(storage, capsys):
    facts = {"run_id": SWEEP, "model": f"runs/{SWEEP}/model", "fingerprint": "ab" * 32, "created_at": now()}
    for metrics in ({"validation_accuracy": 0.875}, {"validation_auroc": math.nan}):
        register(Storage.open(storage), VersionFacts(name="films", metrics=metrics, **facts))
    shown = call(capsys, "models")
    assert shown.code == 0
    assert "validation_accuracy 0.8750" in shown.out
    assert "validation_auroc nan" in shown.out
    assert "validation_loss 1.2000" in shown.out


def test_a_cluster_that_runs_without_its_token_costs_the_verbs_that_ask_it(storage, capsys):
    """Its process is alive: this one."""
    state = json.loads((storage / "cluster/state.json").read_text())
    state |= {"pid": os.getpid(), "pid_started": psutil.Process().create_time()}
    state["token_path"] = str(storage / "cluster/token")
    (storage / "cluster/state.json").write_text(json.dumps(state))
    (storage / "cluster/token").unlink()
    said = every_verb(capsys, verbs=[name for name in VERBS if name not in ("resume", "check")])
    assert "its token cannot be read" in said["status"]
    assert call(capsys, "resume", "other").code == 1


def test_what_a_stranger_wrote_gives_the_terminal_no_order(storage, capsys):
    result = storage / f"runs/{OTHER}/result.json"
    facts = json.loads(result.read_text())
    result.write_text(json.dumps({**facts, "cause": "\x1b]0;owned\x07 \x1b[2J\u202e x\ud800\nwhole   succeeded"}))
    for arguments in (["runs"], ["show", "other"]):
        shown = call(capsys, *arguments)
        assert (shown.code, "\x1b" in shown.out, "\u202e" in shown.out) == (0, False, False)
        assert "?]0;owned? ?[2J? x? whole" in shown.out


@pytest.mark.parametrize("target", ["../runs/x", "..", ".", "", "/etc", "a/../../b", "x\0y", "x" * 5000])
def test_a_run_or_model_is_never_looked_for_outside_of_its_folder(target, storage, capsys):
    for arguments in (["show", target], ["logs", target], ["stop", target], ["alias", f"{target}@1", "production"]):
        done = call(capsys, *arguments)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done
    assert call(capsys, "endpoints", target).code == 2


@pytest.mark.parametrize("verb", ["runs", "draw a training", "trials"])
def test_a_reader_that_has_gone_is_no_damage(verb, storage):
    """`platform runs | head -0`: the pipe is closed before anything is printed."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "trainshed.cli", *VERBS[verb]]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""


def test_a_reader_that_goes_while_a_curve_is_drawn_is_no_damage(caplog):
    def draw():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        what_is_whole(draw, None)
    assert caplog.messages == []
