"""Transformers' manager of continuous batches, every size said, and parts of ours in the place of two of its own."""

from __future__ import annotations

import math
import threading
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from trainshed.spec.plan.answering import PAGE_TOKENS


def start_manager(
    model: Any, outputs: Any, rows: Any, *, cache_tokens: int, batch_tokens: int, requests: int, share: bool = True
) -> Any:
    """The manager, running in a thread. Left alone it takes most of the memory, and flash kernels from a hub.

    `outputs` takes the place of its OutputRouter, `rows` that of its logits processors. Without `share` no prompt's
    keys and values are kept for another one that begins alike: the weights may have changed in between.
    """
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=PAGE_TOKENS,
            num_blocks=math.ceil(cache_tokens / PAGE_TOKENS) + 1,
            max_batch_tokens=batch_tokens,
            max_requests_per_batch=requests,
            allow_block_sharing=share,
            auto_switch_to_flash=False,
            use_cuda_graph=False,
            use_async_batching=False,
        ),
    )
    manager.logit_processor = rows
    manager.output_router = outputs
    # Its thread is a daemon where it is started by one: a training that ends with an error must not wait for it.
    starting = threading.Thread(target=manager.start, name="start-answers", daemon=True)
    starting.start()
    starting.join()
    return manager
