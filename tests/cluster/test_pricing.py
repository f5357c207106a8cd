"""What follows from a profile for a plan: which machine holds a worker, and what an hour of its device costs."""

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from submitting import checked, planned
from trainshed.cluster.pricing import on_profile
from trainshed.cluster.profile import Profile
from trainshed.errors import PlanError, SpecError
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files

CPU = {"cpus": 4, "memory_gb": 16.0, "price_per_hour": 0.4, "max_nodes": 2}
T4 = {"cpus": 8, "memory_gb": 32.0, "gpus": 2, "gpu_type": "T4", "price_per_hour": 1.0}
SPOT = {**T4, "price_per_hour": 0.5, "spot": True}
L4 = {"cpus": 8, "memory_gb": 32.0, "gpus": 1, "gpu_type": "L4", "price_per_hour": 0.8}
TRIALS = {"count": 1, "gpus": 1, "gpu_type": "T4", "per_device_batch_size": 2}
MONEY = {"money": 5.0}


def profile(**node_types):
    data = {"kind": "cluster", "name": "mine", "currency": "USD", "prices_from": "made up", "node_types": node_types}
    return Profile.model_validate(data)


@pytest.fixture
def on(tmp_path):
    """The job and plan of one document over a profile."""

    def settle(document, machines):
        file = tmp_path / "job.yaml"
        file.write_text(text(PREPARE, document))
        loaded, storage = load_files([file]), Storage.open(tmp_path / "storage")
        checked(loaded, storage, priced=True)
        (_, one), (plan,) = on_profile(*planned(loaded, storage), machines)
        return one, plan

    return settle


def test_a_sweep_has_the_price_of_a_gpu_on_the_cheapest_machine_that_holds_a_worker(on):
    document = changed(TUNE, train__workers=TRIALS, budget=MONEY)
    one, plan = on(document, profile(cpu=CPU, t4=T4, spot=SPOT, l4=L4))
    assert one.job.budget.price == plan.price.amount == 0.25
    assert one.job.budget.currency == "USD"
    assert one.job.budget.price_from == ("profile mine, node type spot (spot): 0.5 USD an hour for 2 GPU(s); made up")
    assert one.asked.budget.price is None, "what was asked is kept"


def test_without_gpus_a_device_is_a_cpu(on):
    one, plan = on(changed(TUNE, budget=MONEY), profile(cpu=CPU, t4=T4))
    assert (plan.price.amount, one.job.budget.price) == (0.1, 0.1)
    assert on(TUNE, profile(cpu=CPU, spot=SPOT))[1].price.amount == 0.0625, "of a machine with GPUs too"


def test_the_price_of_the_job_wins(on):
    one, plan = on(changed(TUNE, budget={**MONEY, "price": 2.0, "currency": "EUR"}), profile(cpu=CPU))
    assert (one.job.budget.price, one.job.budget.currency, one.asked) == (2.0, "EUR", None)
    assert (plan.price.amount, plan.price.source) == (2.0, "budget.price")


def test_a_training_has_a_price_too_and_is_not_changed(on):
    one, plan = on(TRAIN, profile(cpu=CPU))
    assert plan.price.amount == 0.1
    assert one.asked is None


@pytest.mark.parametrize(
    ("document", "machines", "said"),
    [
        (changed(TRAIN, workers__cpus=5), {"cpu": CPU}, r"the nearest, cpu, has 4 CPU\(s\) of 5"),
        (
            changed(TUNE, train__workers=TRIALS),
            {"cpu": CPU, "l4": L4, "big": {**CPU, "cpus": 64}},
            "the nearest, l4, has L4 for T4",
        ),
        (changed(TRAIN, workers__memory_gb=17), {"cpu": CPU}, "cpu, has 16 GB of 17.00"),
        (changed(TRAIN, workers__gpus=2), {"cpu": CPU, "l4": L4}, r"the nearest, l4, has 1 GPU\(s\) of 2"),
        (
            changed(TRAIN, model__width=4096, model__layers=16, workers__gpus=1, engine={"kind": "ddp"}),
            {"l4": {**L4, "memory_gb": 99.0}},
            "l4, has 22.08 GB of .* on its L4",
        ),
        (
            changed(TRAIN, model__width=2048, model__layers=24),
            {"cpu": CPU},
            "cpu, has 16 GB of ",
        ),
        (
            changed(TRAIN, workers__count=4, workers__cpus=3),
            {"cpu": CPU},
            "room for 2 of 4 workers; raise max_nodes of cpu",
        ),
    ],
)  # fmt: skip
def test_a_training_that_no_machine_holds_is_refused_with_the_nearest(document, machines, said, on):
    with pytest.raises(PlanError, match=said):
        on(document, profile(**machines))


def test_money_without_any_price_is_refused_where_it_stands(on):
    unpriced = {key: value for key, value in CPU.items() if key != "price_per_hour"}
    with pytest.raises(SpecError, match=r"job.yaml:\d+: budget.money: no node type of the profile mine .* say budget"):
        on(changed(TUNE, budget=MONEY), profile(cpu=unpriced))
    assert on(TUNE, profile(cpu=unpriced))[1].price is None


def test_trials_that_share_a_gpu_must_fit_on_the_machines_gpu(on):
    workers = {"count": 1, "gpus": 1, "memory_gb": 80, "per_device_batch_size": 2}
    on(changed(TUNE, train__workers=workers, trials_per_device=2), profile(l4=L4))
    with pytest.raises(PlanError, match="on its L4"):  # of 24 GB; the job says 80
        on(changed(TUNE, train__workers=workers, trials_per_device=60), profile(l4=L4))
