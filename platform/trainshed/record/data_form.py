"""What `spec` must know of prepared data to compare it with a training, or with other data: from its manifest."""

from __future__ import annotations

from trainshed.record.data_manifest import DataManifest
from trainshed.spec.fitting import DataForm
from trainshed.spec.sweep.held_out import Measured
from trainshed.spec.training.models import DataSizes


def form_of_manifest(manifest: DataManifest) -> DataForm:
    """The form of data that is there."""
    labels = {None: 0, "number": 1}.get(manifest.label_kind, len(manifest.labels))
    sizes = DataSizes(
        vocab_size=manifest.vocab_size,
        context=manifest.longest,
        labels=labels,
        image=manifest.pixels,
        target=manifest.max_target_tokens,
    )
    return DataForm(
        has=manifest.has,
        packed=manifest.form == "packed" or manifest.apart,
        apart=manifest.apart,
        has_reference=manifest.reference is not None,
        sizes=sizes,
        label_kind=manifest.label_kind,
        special_tokens=manifest.special_tokens,
        own_tokenizer=manifest.own_tokenizer,
    )


def measured_on(manifest: DataManifest) -> Measured:
    """The held-out data on which figures of a training are measured."""
    return Measured(
        form=manifest.form,
        has=manifest.has,
        tokenizer_sha256=manifest.tokenizer_sha256,
        block_size=manifest.block_size,
        label_kind=manifest.label_kind,
        labels=manifest.labels,
        image=manifest.pixels,
        held_out=tuple(shard.sha256 for shard in manifest.splits["validation"].shards),
    )
