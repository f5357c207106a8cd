"""A small storage with every kind of file that a verb reads, written by the product's own code; no Ray."""

import json
from dataclasses import asdict

from job_texts import PREPARE, TRAIN, TUNE, changed
from trainshed.client.cluster_state import LocalCluster
from trainshed.record.endpoints import endpoint_of, put_endpoint
from trainshed.record.facts import CodeFacts, EndFacts, TrialOrigin, VersionFacts
from trainshed.record.lineage import training_lineage
from trainshed.record.registry import register, set_alias
from trainshed.record.results import DataOrigin, PrepareResult, ServeResult, SweepResult, TrainResult
from trainshed.record.run import Record, now
from trainshed.record.secrets import keep_secret, let_go_to
from trainshed.record.storage import Storage
from trainshed.record.submission import PlannedRun, Submission, begin_runs
from trainshed.record.trial_facts import TrialEnd
from trainshed.record.trials import TrialFiles
from trainshed.spec.load import job_from_data

DATA, SWEEP, MODEL, ANSWERS, OTHER = (
    f"{name}-261125-00000{number}-0000abcd"
    for number, name in enumerate(("text", "sweep", "model", "answers", "other"))
)
SERVE = {"kind": "serve", "name": "answers", "model": "tales@2", "auth": {"keys": ["PLATFORM_API_KEY"]}}
URL = "http://127.0.0.1:9/answers"
MANIFEST = {
    "form": "packed",
    "vocab_size": 512,
    "block_size": 64,
    "fingerprint": "ab" * 16,
    "made_by": DATA,
    "files": 3,
    "has": ["text"],
    "special_tokens": [],
    "own_tokenizer": True,
    "splits": {
        split: {"samples": 100, "tokens": 6400, "documents": 20, "unigram_entropy_nats": 4.5, "shards": []}
        for split in ("train", "validation")
    },
}
SUCCEEDED = EndFacts(state="succeeded")
ROWS = [{"step": step, "train_loss": 5.0 / step, "validation_loss": 6.0 / step} for step in range(1, 6)]


def made_in(root):
    """The storage and home at `root`; five runs, two models, two endpoints, a cluster that has ended."""
    storage = Storage.open(root)
    jobs = {DATA: PREPARE, SWEEP: TUNE, MODEL: TRAIN, ANSWERS: SERVE}
    planned = tuple(
        PlannedRun(run_id=run, job=job_from_data(job).model_dump(mode="json", by_alias=True), file="job.yaml")
        for run, job in jobs.items()
    )
    code = {"version": "0", "package_sha256": "cd" * 32, "git_commit": None}
    first = Submission(
        submission_id=f"ts-{DATA}",
        storage=storage.uri,
        runs=planned,
        created_at="2026-11-25T00:00:00.000+00:00",
        code=code,
    )
    begin_runs(first, storage)
    other = planned[2].model_copy(update={"run_id": OTHER, "job": {**planned[2].job, "name": "other"}})
    begin_runs(first.model_copy(update={"submission_id": f"ts-{OTHER}", "runs": (other,)}), storage)
    stopped = EndFacts(state="stopped", cause="stopped by `platform stop`", checkpoint=None, step=3)
    Record(storage, OTHER).finish(stopped)
    made = PrepareResult(data=f"data/{'ab' * 16}", address="/data", reused=False, manifest=MANIFEST)
    Record(storage, DATA).finish(SUCCEEDED, made)
    _sweep(Record(storage, SWEEP))
    _training(Record(storage, MODEL))
    facts = {"url": URL, "model": "tales@2", "model_run": MODEL, "fingerprint": "ab" * 8, "auth": ["PLATFORM_API_KEY"]}
    served = ServeResult(**facts, run_id=ANSWERS, first_answer="x")
    Record(storage, ANSWERS).finish(SUCCEEDED, served)
    put_endpoint(storage, endpoint_of("answers", served))
    before = served.model_copy(update={"run_id": "former-261101-000000-0000abcd"})
    put_endpoint(storage, endpoint_of("former", before))
    keep_secret("PLATFORM_API_KEY", "ts-own", root)
    let_go_to("PLATFORM_API_KEY", URL, root)
    _cluster(root)
    return storage


def _sweep(record):
    training = job_from_data(TUNE).train
    for number in range(2):
        trial = TrialFiles(record.storage, record.at(), number)
        trial.begin({"optimizer.learning_rate": 0.001 * (number + 1)}, training)
        _rows(record.storage, f"{trial.folder}/metrics.jsonl")
        trial.end(TrialEnd(state="ended", device_s=3.0))
    record.storage.write_json(record.at("spent.json"), {"wall_s": 9.0, "device_s": 6.0})
    stories = [
        {
            "trial": f"trial-0000{number}",
            "settings": {"optimizer.learning_rate": 0.001},
            "history": [[1, 2.0], [2, 1.5 - number]],
            "value": 1.5 - number,
            "state": "ended",
            "cause": None,
        }
        for number in range(2)
    ]
    best = {**stories[1], "training": training.model_dump(mode="json")}
    result = SweepResult(best=best, trials=stories, metric="validation_loss", goal="min", registered=None)
    record.finish(SUCCEEDED, result)


def _training(record):
    storage = record.storage
    _rows(storage, record.at("metrics.jsonl"))
    storage.write(record.at("events.jsonl"), b'{"seq": 1, "event": "begin"}\n{"seq": 2, "event": "end"}\n')
    storage.write(record.at("logs/driver.log"), b"2026-11-25 it begins\n")
    lineage = training_lineage(
        run_id=record.run_id,
        job=record.job["job"],
        code=CodeFacts(),
        data=DataOrigin(run_id=DATA, fingerprint="ab" * 16),
        trial=TrialOrigin(run_id=SWEEP, trial="trial-00001", settings={}),
        checkpoint=None,
        model_sha256="ef" * 32,
        environment={},
    )
    storage.write_json(record.at("lineage.json"), lineage.as_json())
    metrics = {"step": 5, "validation_loss": 1.2, "test_loss": 1.3}
    result = TrainResult(
        metrics=metrics,
        unigram_entropy_nats=4.5,
        checkpoint="checkpoints/step-0000005",
        model=record.at("model"),
        registered="tales@2",
    )
    record.finish(SUCCEEDED, result)
    facts = {"run_id": record.run_id, "model": record.at("model"), "fingerprint": lineage.fingerprint}
    for name in ("tales", "tales", "others"):
        version = VersionFacts(name=name, created_at=now(), metrics={"validation_loss": 1.2}, **facts)
        register(storage, version)
    set_alias(storage, "tales@1", "production")


def _rows(storage, path):
    storage.write(path, "".join(f"{json.dumps(row)}\n" for row in ROWS).encode())


def _cluster(home):
    """What `cluster up` leaves when its first process has been killed: the pid is another's, or nobody's."""
    folder = home / "cluster"
    folder.mkdir(mode=0o700)
    (folder / "token").write_text("ab" * 32)
    cluster = LocalCluster(
        pid=2**22 + 1,
        pid_started=0.0,
        dashboard_url="http://127.0.0.1:9",
        gcs_address="127.0.0.1:9",
        token_path=str(folder / "token"),
        temp_dir=str(home / "ts-none"),
        serve_port=9,
        cpus=1,
        gpus=0,
        started_at="2026-11-25T00:00:00+00:00",
        ray_version="0",
        log=str(folder / "ray.log"),
    )
    (folder / "state.json").write_text(json.dumps(asdict(cluster)))


DOCUMENTS = [
    changed(TRAIN, name="again"),
    {"kind": "train", "name": "best", "from_best": "run://sweep", "steps": 20},
    SERVE,
]
"""A job file that refers to what the storage holds."""
