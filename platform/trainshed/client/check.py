"""What only this machine and storage can find out before anything is handed over: files that are there, data that fits.

Knows job files, this disk and bound submissions; no HTTP, so that a refusal costs little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from pydantic import JsonValue

from trainshed.client.beginnings import as_planned, beginning_misfits
from trainshed.client.bound import (
    Bound,
    BoundEvaluation,
    BoundJob,
    BoundPrepare,
    BoundReference,
    BoundServing,
    BoundSweep,
    BoundTraining,
    Data,
    EarlierSweep,
    PlannedData,
    PlannedModel,
    PreparedData,
    TrainedModel,
)
from trainshed.client.evaluations import evaluation_faults
from trainshed.client.given_files import model_faults
from trainshed.client.outside import outside_faults
from trainshed.client.uploads import upload_faults
from trainshed.errors import Fault, SpecError, UsageError
from trainshed.record.data_form import measured_on
from trainshed.record.registry import ModelVersion
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.fitting import misfits
from trainshed.spec.job import training_of
from trainshed.spec.load import LoadedJob, misfits_with
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.held_out import difference
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training import quantization
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import folder_config
from trainshed.spec.training.models.sameness import config_misfit, config_shape
from trainshed.spec.training.preference import Dpo
from trainshed.spec.training.trackers import is_installed_here, trackers
from trainshed.spec.training.train import Training, TrainJob

ADAPTERS_HINT = "say export.adapters: both, or merged, in its training"


def faults_here(loaded: Sequence[LoadedJob], *, local: bool = False, priced: bool = False) -> list[Fault]:
    """What is wrong with each document by itself, on this machine: files of sources, addresses, money without a price.

    `local`: the cluster is this machine. `priced`: a cluster profile gives prices that a job leaves out.
    """
    faults: list[Fault] = []
    for one in loaded:
        outside = outside_faults(one, local=local)
        faults += outside or upload_faults(one)
        faults += [*_tracker_faults(one), *_library_faults(one)] if local else []
        if isinstance(one.job, TuneJob) and one.job.budget.money is not None and not (priced or one.job.budget.price):
            message = "needs what one device costs for one hour: say budget.price, or give --profile"
            faults.append(one.fault("budget.money", message))
    return faults


def _tracker_faults(one: LoadedJob) -> list[Fault]:
    """Trackers whose library is not there, where the cluster runs this very Python."""
    if not isinstance(one.job, TrainJob | TrainFromBest | TuneJob):
        return []
    lacking = [tracker for tracker in trackers(one.job.report_to) if not is_installed_here(tracker)]
    return [
        one.fault(
            "report_to",
            f"{tracker.kind} is not installed on this machine, which is the cluster; "
            f"pip install 'trainshed[{tracker.extra}]', or leave it out",
        )
        for tracker in lacking
    ]


def _library_faults(one: LoadedJob) -> list[Fault]:
    """What needs a library that is not there, where the cluster runs this very Python."""
    found = training_of(one.job)
    if found is None or quantization.is_installed_here():
        return []
    training, inside = found
    return [
        one.fault(
            f"{inside}{key.partition(':')[0]}",
            f"{key.partition(': ')[2]} needs {quantization.EXTRA}, and it is not installed on this machine, which is "
            f"the cluster; pip install 'trainshed[{quantization.EXTRA}]', or leave it out",
        )
        for key in quantization.keys_of(training.lora, training.optimizer)
    ]


def check(bound: Bound) -> None:
    """Whether each training and sweep fits the models, data and earlier sweeps that are there for it.

    Raises:
        SpecError: every fault found.
    """
    faults: list[Fault] = []
    for one in bound.jobs:
        broken = _folder_faults(one.loaded)
        faults += [*(broken or _given_faults(one)), *_misfits(one, bound.jobs)]
    if faults:
        raise SpecError(faults)


def _folder_faults(one: LoadedJob) -> list[Fault]:
    """A folder of this machine that is to be trained further, and is no whole model."""
    found = training_of(one.job)
    if found is None:
        return []
    training, inside = found
    model = training.model
    if not isinstance(model, Pretrained):
        return []
    try:
        model.parameters()
        if model.folder is not None:
            folder_config(model.folder)
    except UsageError as error:
        return [one.fault(f"{inside}model.name_or_path", str(error))]
    return []


def _given_faults(one: BoundJob) -> list[Fault]:
    """A whole model in a folder of this machine that does not go with its data or its adapters."""
    match one:
        case BoundTraining():
            trainings = [(one.full.training, one.data, "")]
        case BoundReference():
            trainings = [(one.training, one.data, "")]
        case BoundSweep():
            trainings = [(one.job.train, data, "train.") for data in list(one.data.values())[:1]]
        case _:
            return []
    found = []
    for training, data, inside in trainings:
        maker = data.document.job if isinstance(data, PlannedData) else None
        maker = maker if isinstance(maker, PrepareJob) else None
        found += [one.loaded.fault(inside + key, said) for key, said in model_faults(training, data.form, maker)]
    return found


def _misfits(one: BoundJob, documents: Sequence[BoundJob]) -> list[Fault]:
    match one:
        case BoundSweep():
            return [*_sweep_misfits(one), *_unlike_sweeps(one)]
        case BoundTraining():
            return [*_training_misfits(one), *_unlike_reference(one, documents)]
        case BoundReference():
            return _reference_misfits(one)
        case BoundPrepare():
            return []
        case BoundEvaluation():
            return evaluation_faults(one)
        case BoundServing():
            refused = [] if one.refusal is None else [one.loaded.fault("gate", one.refusal)]
            return [*_no_model(one, documents), *refused]
        case _:
            assert_never(one)


def _no_model(one: BoundServing, documents: Sequence[BoundJob]) -> list[Fault]:
    """A model that is none: the training exports, or has exported, adapters alone."""
    match one.model:
        case PlannedModel():
            makers = [made for made in documents if made.loaded is one.model.document]
            alone = any(isinstance(made, BoundTraining) and not made.full.export.writes_model for made in makers)
        case TrainedModel():
            alone = one.model.outcome.model is None
        case ModelVersion():
            alone = False
        case _:
            assert_never(one.model)
    if not alone:
        return []
    message = f"{one.job.model} exports adapters alone, and there is no model to serve; {ADAPTERS_HINT}"
    return [one.loaded.fault("model", message)]


def _training_misfits(one: BoundTraining) -> list[Fault]:
    """Ways in which a training does not fit data that is there; `load` compares documents of one submission."""
    found: list[Fault] = []
    if one.weights is not None:
        found += [one.loaded.fault(key, said) for key, said in beginning_misfits(one.full, one.weights, one.data)]
    if not isinstance(one.data, PreparedData):
        return found
    if one.best is None:
        return [*found, *misfits_with(one.loaded, one.full.data, one.data.form)]
    return [*found, *(one.loaded.fault(key, said) for key, said in misfits(one.full.training, one.data.form))]


def _unlike_reference(one: BoundTraining, documents: Sequence[BoundJob]) -> list[Fault]:
    """A reference of another shape than the model that is compared with it, where both are files of this machine."""
    if not isinstance(one.full.task, Dpo):
        return []
    config = _config_here(as_planned(one.full, one.weights))
    why = None if config is None else config_misfit(config, _shape_of_reference(one.data, documents))
    return [one.loaded.fault("data", f"the reference of {one.full.data} {why}")] if why else []


def _shape_of_reference(data: Data, documents: Sequence[BoundJob]) -> Mapping[str, JsonValue] | None:
    """The shape of the model that has measured data, or will."""
    if isinstance(data, PreparedData):
        return None if data.manifest.reference is None else data.manifest.reference.shape
    for made in documents:
        if isinstance(made, BoundReference) and made.loaded is data.document:
            config = _config_here(as_planned(made.training, made.weights))
            return None if config is None else config_shape(config)
    return None


def _config_here(training: Training) -> dict[str, Any] | None:
    """The config.json of its model, where that is a folder of this machine."""
    folder = training.model.folder if isinstance(training.model, Pretrained) else None
    return None if folder is None else folder_config(folder)


def _reference_misfits(one: BoundReference) -> list[Fault]:
    """The same of a document that measures data with a model."""
    found: list[Fault] = []
    if one.weights is not None:
        found += [one.loaded.fault(key, said) for key, said in beginning_misfits(one.training, one.weights, one.data)]
    if isinstance(one.data, PreparedData):
        found += misfits_with(one.loaded, one.job.data, one.data.form)
    return found


def _sweep_misfits(one: BoundSweep) -> list[Fault]:
    """The same of each data set of a sweep; and whether they compare with one another."""
    there = {reference: data for reference, data in one.data.items() if isinstance(data, PreparedData)}
    faults = [fault for reference, data in there.items() for fault in misfits_with(one.loaded, reference, data.form)]
    faults += _sweep_beginning_misfits(one)
    if faults or len(there) < 2:
        return faults
    # Data that documents before this one make is compared later, on the cluster.
    said = difference({reference: measured_on(data.manifest) for reference, data in there.items()})
    return [one.loaded.fault("space.data", said)] if said else []


def _sweep_beginning_misfits(one: BoundSweep) -> list[Fault]:
    """What trials begin with that does not fit the task, or the data that they read."""
    faults = []
    for reference, began in one.weights.items():
        base = one.job.train
        inside = "train." if reference == base.begins_with else "space."
        if base.init_from is None:
            base = base.model_copy(update={"model": Pretrained(name_or_path=reference)})
        for data_set, data in one.data.items():
            found = beginning_misfits(base.model_copy(update={"data": data_set}), began, data)
            faults += [one.loaded.fault(inside + key, said) for key, said in found]
    return list(dict.fromkeys(faults))


def _unlike_sweeps(one: BoundSweep) -> list[Fault]:
    """Sweeps in storage whose figures are of something else; `load` compares documents of one submission."""
    return [
        one.loaded.fault("search.learn_from", f"{reference}: {sweep.unlike}; leave it out")
        for reference, sweep in one.learns_from.items()
        if isinstance(sweep, EarlierSweep) and sweep.unlike
    ]
