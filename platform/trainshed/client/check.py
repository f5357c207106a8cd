"""What only this machine and storage can find out before anything is handed over: references, files, memory.

Knows job files and storage; no HTTP, so that a refusal costs little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trainshed.client.outside import outside_faults
from trainshed.client.ray_head import default_cpus
from trainshed.client.uploads import upload_faults
from trainshed.errors import DamagedFile, Fault, SpecError, UsageError
from trainshed.record.built_on import best_trial, prepared
from trainshed.record.data_form import form_of_manifest, measured_on
from trainshed.record.data_manifest import DataManifest
from trainshed.record.facts import parse_facts
from trainshed.record.learning import why_nothing_is_taken
from trainshed.record.registry import resolve
from trainshed.record.run import Record, find_finished
from trainshed.record.storage import Storage
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.fitting import DataForm, form_of, misfits
from trainshed.spec.job import Job
from trainshed.spec.load import LoadedJob, data_sets, misfits_with, outside_references, resolve_best
from trainshed.spec.plan import Plan, plan, plan_sweep, refuse_what_can_never_fit, refuse_what_cannot_fit, resolved
from trainshed.spec.sweep.capacity import room_for
from trainshed.spec.sweep.constraints import recorded
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.held_out import difference
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import folder_config
from trainshed.spec.training.train import Training, TrainJob


@dataclass(frozen=True)
class Known:
    """What references mean: the newest runs of storage, but for data that a run read when it began."""

    storage: Storage
    bound: Mapping[str, Record] = field(default_factory=dict)

    def run(self, target: str, kind: str) -> Record:
        """The run that `target` means; raises as `find_finished`, or where the data of a bound one is gone."""
        if kind != "prepare" or target not in self.bound:
            return find_finished(self.storage, target, kind)
        prepared(self.bound[target])
        return self.bound[target]


def check(
    loaded: Sequence[LoadedJob],
    known: Known,
    *,
    local: bool = False,
    priced: bool = False,
    going_on: LoadedJob | None = None,
) -> None:
    """Everything that can be found out without a cluster: references into storage, files of sources.

    `local`: the cluster is this machine. `priced`: a cluster profile gives prices that a job leaves out. `going_on` has
    begun before, with what its references meant then: what a search has learnt from is not looked at again.

    Raises:
        SpecError: every fault found.
    """
    faults: list[Fault] = []
    for one, reference in outside_references(loaded):
        try:
            if reference.target.startswith("run://"):
                known.run(reference.target, reference.wants)
            else:
                resolve(known.storage, reference.target)
        except (UsageError, DamagedFile) as error:
            faults.append(one.fault(reference.key, str(error)))
    for one in loaded:
        outside = outside_faults(one, local=local)
        faults += outside or upload_faults(one)
        if isinstance(one.job, TuneJob) and one.job.budget.money is not None and not (priced or one.job.budget.price):
            message = "needs what one device costs for one hour: say budget.price, or give --profile"
            faults.append(one.fault("budget.money", message))
    if faults:
        raise SpecError(faults)
    for one in loaded:
        faults += [*_folder_faults(one), *_data_faults(one, loaded, known)]
        faults += [] if one is going_on else _learn_from_faults(one, loaded, known)
    if faults:
        raise SpecError(faults)


def plans(
    loaded: Sequence[LoadedJob], known: Known, *, machine_bytes: int | None = None
) -> tuple[list[LoadedJob], list[Plan]]:
    """The jobs with numbers in place of every `auto`, and the arithmetic of every training among them.

    Raises:
        PlanError: one cannot fit, or says `auto` where the plan cannot know.
    """
    settled: list[LoadedJob] = []
    made: list[Plan] = []
    for one in loaded:
        training = _training(one, loaded, known)
        if training is None:
            settled.append(one)
            continue
        sizes = _data_form(training.data, loaded, known).sizes
        if isinstance(one.job, TuneJob):
            of_each = {data: _data_form(data, loaded, known).sizes for data in one.job.data_sets}
            share = _share(machine_bytes, one.job)
            sweep, own = plan_sweep(one.job, sizes, of_each=of_each, machine_bytes=share)
            refuse_what_can_never_fit(one.job.name, one.job, sizes, of_each=of_each, machine_bytes=share)
            made.append(own)
            settled.append(_kept(one, sweep))
            continue
        own = plan(one.job.name, training, sizes, machine_bytes=machine_bytes)
        refuse_what_cannot_fit(own, training)
        refuse_what_can_never_fit(one.job.name, training, sizes, machine_bytes=machine_bytes)
        made.append(own)
        settled.append(_settled(one, resolved(training, own.chosen)))
    return settled, made


def _share(machine_bytes: int | None, job: TuneJob) -> int | None:
    """This machine's memory for one trial: they run side by side."""
    if machine_bytes is None:
        return None
    room = max(1, room_for(job, [{"CPU": default_cpus()}]))
    return machine_bytes // (min(room, job.concurrent) if job.search.concurrent == "auto" else job.concurrent)


def _settled(one: LoadedJob, training: Training) -> LoadedJob:
    """The document with what the plan has chosen; the same one where it says no `auto`."""
    job = one.job
    match job:
        case TrainJob():
            done: Job = job.model_copy(update={"engine": training.engine, "workers": training.workers})
        case TrainFromBest():
            own = {key for key in ("engine", "workers") if getattr(job, key) is not None}
            done = job.model_copy(update={key: getattr(training, key) for key in own})
        case _:
            return one
    return _kept(one, done)


def _kept(one: LoadedJob, done: Job) -> LoadedJob:
    """The document with another job in place of what was asked, which is kept."""
    return one if done == one.job else replace(one, job=done, asked=one.asked or one.job)


def _training(one: LoadedJob, loaded: Sequence[LoadedJob], known: Known) -> Training | None:
    match one.job:
        case TuneJob():
            return one.job.train
        case TrainJob():
            return one.job.training
        case TrainFromBest():
            name = one.job.from_best.removeprefix("run://")
            for other in loaded:
                if isinstance(other.job, TuneJob) and other.job.name == name:
                    return resolve_best(one, one.job, other.job.train).training
            swept = known.run(one.job.from_best, "tune")
            place = f"{known.storage.address(swept.at('result.json'))}: best.training"
            training = parse_facts(best_trial(swept).training, Training, place)
            return resolve_best(one, one.job, training, recorded(swept.job["job"])).training
        case _:
            return None


def _folder_faults(one: LoadedJob) -> list[Fault]:
    """A folder of this machine that is to be trained further, and is no whole model."""
    training = one.job.train if isinstance(one.job, TuneJob) else one.job
    if not isinstance(training, Training) or not isinstance(training.model, Pretrained):
        return []
    try:
        training.model.parameters()
        if training.model.folder is not None:
            folder_config(training.model.folder)
    except UsageError as error:
        inside = "train." if isinstance(one.job, TuneJob) else ""
        return [one.fault(f"{inside}model.name_or_path", str(error))]
    return []


def _data_faults(one: LoadedJob, loaded: Sequence[LoadedJob], known: Known) -> list[Fault]:
    """Ways in which a training does not fit data that is there; `load` compares documents of one submission."""
    if isinstance(one.job, TrainFromBest):
        training = _training(one, loaded, known)
        if training is None or any(f"run://{other.job.name}" == training.data for other in loaded):
            return []
        return [one.fault(key, said) for key, said in misfits(training, _data_form(training.data, loaded, known))]
    there = [data for data in data_sets(one.job) if all(f"run://{other.job.name}" != data for other in loaded)]
    faults = [fault for data in there for fault in misfits_with(one, data, _data_form(data, loaded, known))]
    measured = {data: measured_on(_manifest(data, known)) for data in there}
    if not faults and len(measured) > 1 and (said := difference(measured)):
        faults.append(one.fault("space.data", said))  # those that documents before this one make are compared later
    return faults


def _learn_from_faults(one: LoadedJob, loaded: Sequence[LoadedJob], known: Known) -> list[Fault]:
    """Sweeps in storage whose figures are of something else; `load` compares documents of one submission."""
    job, faults = one.job, []
    if not isinstance(job, TuneJob):
        return []
    names, here = {f"run://{other.job.name}" for other in loaded}, None
    if not names & set(job.data_sets):  # what is prepared before it is compared then
        here = {data: str(_manifest(data, known).fingerprint) for data in job.data_sets}
    for target in job.learns_from:
        if target in names:
            continue
        if said := why_nothing_is_taken(job, here, known.run(target, "tune")):
            faults.append(one.fault("search.learn_from", f"{target}: {said}; leave it out"))
    return faults


def _data_form(reference: str, loaded: Sequence[LoadedJob], known: Known) -> DataForm:
    """What the data is made of, from the document that makes it or the run that made it."""
    name = reference.removeprefix("run://")
    for other in loaded:
        if isinstance(other.job, PrepareJob) and other.job.name == name:
            return form_of(other.job)
    return form_of_manifest(_manifest(reference, known))


def _manifest(reference: str, known: Known) -> DataManifest:
    return prepared(known.run(reference, "prepare")).manifest
