"""The plan's arithmetic: what a worker holds, what is chosen for `auto`, what is refused."""

import pytest

from trainshed.errors import PlanError
from trainshed.spec.plan import needed, plan, refuse_what_cannot_fit, resolved
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp, Offload
from trainshed.spec.training.models import DataSizes, Gpt2, Llama
from trainshed.spec.training.optimizers import Adafactor, AdamW
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

SIZES = DataSizes(vocab_size=512, context=64)
BILLIONS = DataSizes(vocab_size=32_000, context=2048)
SMALL = Gpt2(layers=2, heads=2, width=64)
SEVEN = Llama(layers=32, heads=32, width=4096, feed_forward=11_008, tie_embeddings=False)

ADAMW = AdamW(learning_rate=0.001)
AGAIN = DeepSpeed(zero_stage=2, activation_checkpointing=True)


def training(stage=1, *, model=SMALL, engine=None, precision="fp32", batch=16, optimizer=ADAMW, **workers):
    return Training(
        model=model,
        data="run://text",
        optimizer=optimizer,
        engine=engine or DeepSpeed(zero_stage=stage),
        precision=precision,
        workers=Workers(**{"count": 2, "per_device_batch_size": 4, **workers}),
        global_batch_size=batch,
        steps=10,
    )


def large(stage="auto", batch=64, **values):
    return training(
        stage,
        model=SEVEN,
        batch=batch,
        **{"precision": "bf16", "gpus": 1, "gpu_type": "H100", "count": 8, "per_device_batch_size": "auto", **values},
    )


def layouts(made):
    return {str(one.layout): one for one in made.table}


def test_batch_arithmetic():
    made = plan("a", training(1), SIZES)
    assert (made.accumulation, made.tokens_per_step, made.tokens) == (2, 1024, 10240)


def test_states_fall_strictly_with_the_stage():
    totals = [one.states for one in plan("a", training(1), SIZES).table]
    assert len(totals) == 4
    assert sorted(totals, reverse=True) == totals
    assert len(set(totals)) == 4


def test_states_are_those_of_the_zero_paper():
    """7.5 G weights, half precision, 64 GPUs: 120, 31.4, 16.6 and 1.9 GB (arXiv 1910.02054, figure 1)."""
    shape = training(1, model=SEVEN, precision="bf16", gpus=1, count=64, per_device_batch_size=1, batch=64)
    table = layouts(plan("a", shape, BILLIONS))
    count = plan("a", shape, BILLIONS).cost.parameters
    per_weight = [table[f"ZeRO-{stage}"].states / count for stage in (1, 2, 3)]
    assert per_weight == pytest.approx([31.4 / 7.5, 16.6 / 7.5, 1.9 / 7.5], rel=0.03)


def test_ddp_holds_everything_in_fp32():
    made = plan("a", training(engine=Ddp()), SIZES)
    assert made.chosen.states == 16 * made.cost.parameters
    assert [str(one.layout) for one in made.table] == ["ddp"]


def test_auto_takes_the_least_communication_that_fits():
    assert str(plan("a", large(memory_gb=1000.0), BILLIONS).chosen.layout) == "ZeRO-1"
    assert str(plan("a", large(), BILLIONS).chosen.layout) == "ZeRO-1"
    assert str(plan("a", large(memory_gb=50.0), BILLIONS).chosen.layout) == "ZeRO-2"
    assert str(plan("a", large(memory_gb=35.0), BILLIONS).chosen.layout) == "ZeRO-3"


def test_auto_takes_the_largest_batch_that_divides_and_fits():
    small = plan("a", training("auto", per_device_batch_size="auto", memory_gb=1.0), SIZES)
    assert small.chosen.per_device_batch_size == 8
    made = plan("a", large(batch=48), BILLIONS)
    assert made.chosen.per_device_batch_size in (1, 2, 3, 6)
    assert made.chosen.total <= made.limit.bytes
    refuse_what_cannot_fit(made, large(batch=48))


def test_auto_offloads_where_nothing_else_fits():
    job = large(memory_gb=10.0, count=1, engine=DeepSpeed(zero_stage="auto", activation_checkpointing=True))
    made = plan("a", job, BILLIONS)
    assert made.chosen.layout.offload == Offload(optimizer="cpu", parameters="cpu")
    assert made.chosen.host > 100e9
    refuse_what_cannot_fit(made, job)


def test_auto_keeps_what_the_job_offloads():
    engine = DeepSpeed(zero_stage="auto", offload=Offload(optimizer="nvme", nvme_path="/local"))
    made = plan("a", large(engine=engine, memory_gb=1000.0), BILLIONS)
    assert made.chosen.layout.offload.optimizer == "nvme"
    assert made.chosen.disk > 0


def test_activation_checkpointing_makes_room():
    def activations(again):
        engine = DeepSpeed(zero_stage=3, activation_checkpointing=again)
        return plan("a", large(engine=engine, per_device_batch_size=1), BILLIONS).chosen.activations

    assert activations(again=True) < activations(again=False) / 5


def test_what_was_chosen_replaces_every_auto():
    job = large()
    made = plan("a", job, BILLIONS)
    done = resolved(job, made.chosen)
    assert done.engine.zero_stage == made.chosen.layout.zero_stage
    assert done.workers.per_device_batch_size == made.chosen.per_device_batch_size
    assert "auto" not in done.model_dump_json()
    assert resolved(training(1), None) == training(1)


def test_auto_leaves_out_stages_that_the_optimizer_cannot_have():
    job = training("auto", optimizer=Adafactor(learning_rate=0.01), memory_gb=1.0)
    assert str(plan("a", job, SIZES).chosen.layout) == "ZeRO-0"
    with pytest.raises(PlanError, match="no stage goes with precision bf16: optimizer adafactor needs whole matrices"):
        plan("a", job.model_copy(update={"precision": "bf16"}), SIZES)


def test_auto_without_a_known_memory_is_refused():
    with pytest.raises(
        PlanError, match=r"engine\.zero_stage and .*: auto needs .*workers\.gpu_type or workers\.memory_gb"
    ):
        plan("a", large(gpu_type=None), BILLIONS)


def test_on_the_local_cluster_auto_goes_by_this_machines_memory():
    made = plan("a", training("auto", per_device_batch_size="auto"), SIZES, machine_bytes=16 * 10**9)
    assert (str(made.chosen.layout), made.chosen.per_device_batch_size) == ("ZeRO-0", 8)


@pytest.mark.parametrize(
    ("job", "sizes", "said"),
    [
        (large(engine=AGAIN, per_device_batch_size=1, memory_gb=24.0), BILLIONS, "engine.zero_stage: 3"),
        (training(1, memory_gb=0.009), SIZES, "workers.per_device_batch_size: "),
        (large(2, per_device_batch_size=8, memory_gb=40.0), BILLIONS, "workers.per_device_batch_size: 1"),
        (large(3, per_device_batch_size=1, memory_gb=19.0), BILLIONS, "engine.activation_checkpointing: true"),
        (large(1, count=1, per_device_batch_size=1), BILLIONS, "engine.offload.optimizer: cpu"),
        (large(engine=Ddp(activation_checkpointing=True), per_device_batch_size=1), BILLIONS, "engine.kind: deepspeed"),
        (large(gpu_type="T4", precision="fp16"), BILLIONS, "would fit"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_nearest_that_would(job, sizes, said):
    made = plan("a", job, sizes)
    with pytest.raises(PlanError, match="would fit") as caught:
        refuse_what_cannot_fit(made, job)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (DeepSpeed(zero_stage=1, offload=Offload(optimizer="cpu")), "ZeRO-1, optimizer on cpu with 1 sample"),
        (Ddp(), "ddp with 1 sample"),
        (Fsdp(), "fsdp with 1 sample"),
    ],
)
def test_a_batch_that_nothing_fits_is_refused_by_the_jobs_own_layout(engine, said):
    job = large(engine=engine, precision="fp32", memory_gb=24.0)
    made = plan("a", job, BILLIONS)
    assert made.chosen is None
    with pytest.raises(PlanError, match=said):
        refuse_what_cannot_fit(made, job)


def test_fsdp_splits_everything_in_fp32_and_holds_whole_what_it_is_told_to():
    """16 bytes a weight over the workers; whole gradients and weights where the job says so."""
    shape = large(engine=Fsdp(), memory_gb=1000.0, per_device_batch_size=1)
    made = plan("a", shape, BILLIONS)
    count, table = made.cost.parameters, layouts(made)
    assert made.chosen == table["fsdp"]
    assert made.chosen.states == 16 * count // 8
    assert list(table) == ["fsdp, weights kept whole, gradients kept whole", "fsdp, weights kept whole",
                           "fsdp, gradients kept whole", "fsdp"]  # fmt: skip
    assert table["fsdp, gradients kept whole"].gradients == 8 * made.chosen.gradients
    layer = 4 * 4096**2 + 3 * 4096 * 11_008
    gathered = count - 30 * layer
    assert made.chosen.buffers == gathered * (2 + 4)
    assert table["fsdp, weights kept whole"].buffers == 2 * count + 4 * gathered


def test_fsdp_is_refused_with_what_it_could_be_told_first():
    engine = Fsdp(reshard_after_forward=False, activation_checkpointing=True)
    job = large(engine=engine, per_device_batch_size=1, memory_gb=25.0)
    with pytest.raises(PlanError, match=r"engine\.reshard_after_forward: true and .* would fit"):
        refuse_what_cannot_fit(plan("a", job, BILLIONS), job)


def test_what_fits_is_not_refused():
    job = training(1, memory_gb=1.0)
    made = plan("a", job, SIZES, machine_bytes=4 * 10**9)
    assert needed(made.chosen, job.workers) < made.limit.bytes
    refuse_what_cannot_fit(made, job)
