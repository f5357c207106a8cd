"""What the architectures that people train can learn, by the name that config.json has for them.

Of one that is not listed only transformers knows, on the cluster.
"""

from __future__ import annotations

DECODERS = frozenset(
    {
        "bloom", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj",
        "llama", "mistral", "mixtral", "olmo", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "stablelm",
    }
)  # fmt: skip
ENCODERS = frozenset(
    {
        "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "mpnet", "roberta",
        "xlm-roberta",
    }
)  # fmt: skip
ENCODER_DECODERS = frozenset({"bart", "mbart", "mt5", "t5"})
VISION = frozenset({"beit", "convnext", "deit", "swin", "vit"})

DECODER_TASKS = ("causal_lm", "dpo", "orpo", "reward_model", "text_classification")
ENCODER_TASKS = ("masked_lm", "reward_model", "text_classification")
ENCODER_DECODER_TASKS = ("seq2seq_lm", "text_classification")
VISION_TASKS = ("image_classification",)

LEARNS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(DECODERS, DECODER_TASKS),
    **dict.fromkeys(ENCODERS, ENCODER_TASKS),
    **dict.fromkeys(ENCODER_DECODERS, ENCODER_DECODER_TASKS),
    **dict.fromkeys(VISION, VISION_TASKS),
    "lstm": (),
}
"""The tasks that begin with the weights of an architecture; an lstm is no model of transformers."""


def why_not(task: str, model_type: str) -> str | None:
    """Why a task cannot begin with weights of an architecture, in one line; None where it can, or nobody here knows."""
    learns = LEARNS.get(model_type)
    if learns is None or task in learns or task == "custom":
        return None
    if not learns:
        return f"the weights of a {model_type} are not loaded again; train it from scratch"
    known = " and ".join(filter(None, (", ".join(learns[:-1]), learns[-1])))
    return f"a {model_type} cannot be trained for {task}; it is trained for {known}"
