"""F5: the loss of preference tuning against TRL's, the same models on the same batches.

    pip install --no-deps --target TRL trl==1.16.0 datasets==5.2.0 multiprocess dill xxhash
    PYTHONPATH=TRL .venv/bin/python benchmarks/preference_agreement.py

Three families, fresh and with dropout off, each loss, two betas, with a reference from our own `of_samples` and, for
TRL, from a second model; adapters too, whose reference is the model with them off. TRL's own trainer computes its side.
The figure is the largest difference as a part of the loss. Writes F5.json.
"""

import copy
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from task_cases import batch_of, case_with_reference, preference_case, preferring_case
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import Gpt2, Llama, Qwen2
from trainshed.spec.training.preference import Dpo

SHAPE = {"layers": 2, "heads": 2, "width": 32}
LOSSES = ("sigmoid", "ipo", "hinge")
BETAS = (0.1, 0.5)
SAMPLES = np.arange(8)
COMMAND = "PYTHONPATH=TRL python benchmarks/preference_agreement.py"


def main() -> None:
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for model, loss, beta in itertools.product((Llama, Gpt2, Qwen2), LOSSES, BETAS):
            place = Path(scratch) / f"{model.__name__}-{loss}-{beta}"
            place.mkdir()
            task = Dpo(loss=loss, beta=beta)
            for name, apart in (("", whole(place, model, task)), (" with adapters", adapted(place, model, task))):
                print(f"{model.__name__} {loss} beta {beta}{name}: {apart:.1e}", flush=True)
                found.append(apart)
    what = f"DPO's loss against TRL 1.16's, {len(found)} models x losses x betas of 8 pairs, largest difference"
    write_result("F5", what, "<= 1e-6", found, command=COMMAND, pairs=[])


def whole(place: Path, model: type, task: Dpo) -> float:
    """All weights are trained; the reference is another model."""
    case = preference_case(place / "tokenizer", task, model(**SHAPE))
    torch.manual_seed(0)
    standing = case.task.make_model().eval()
    policy = moved(copy.deepcopy(standing))
    with torch.no_grad():
        figures = case.task.of_samples(standing, batch_of(case, np.arange(len(case.samples))))
    case = case_with_reference(case, figures.values())
    return compared(case, policy, standing, place)


def adapted(place: Path, model: type, task: Dpo) -> float:
    """Adapters are trained; the reference is the model without them."""
    (place / "adapted").mkdir()
    lora = Lora(rank=4, alpha=8, target_modules="all-linear")
    case = preferring_case(place / "adapted" / "tokenizer", model(**SHAPE), task=task, lora=lora)
    torch.manual_seed(0)
    policy = moved(case.task.make_model().eval())
    return compared(case, policy, None, place / "adapted")


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """The model some way from where it began."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    return model


def compared(case: Any, policy: torch.nn.Module, standing: torch.nn.Module | None, place: Path) -> float:
    """Ours and TRL's, as a part of TRL's."""
    batch = batch_of(case, SAMPLES)
    with torch.no_grad():
        ours = float(case.task.loss(policy, batch, label_smoothing=0.0)) / case.task.weight(batch)
    theirs = of_trl(case.training.task, policy, standing, batch, place)
    return abs(ours - theirs) / abs(theirs)


def of_trl(task: Dpo, policy: Any, standing: Any, batch: dict[str, torch.Tensor], place: Path) -> float:
    from datasets import Dataset  # TRL's own world, in a folder of its own
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    settings = DPOConfig(
        str(place / "trl"),
        loss_type=[task.loss],
        beta=task.beta,
        use_cpu=True,
        report_to=[],
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(place / "tokenizer", local_files_only=True)
    rows = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    model = policy if standing is None else copy.deepcopy(policy)
    trainer = DPOTrainer(model, standing, settings, train_dataset=rows, processing_class=tokenizer)
    if standing is None and "ref" in policy.peft_config:
        policy.delete_adapter("ref")  # TRL takes adapters that are there for the reference; these are what is trained
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "completion_mask": (batch["labels"] != -100).long(),
    }
    trainer.model.eval()
    with torch.no_grad():
        return float(trainer._compute_loss(trainer.model, inputs, return_outputs=False))


if __name__ == "__main__":
    main()
