"""Are trainings over several data sets compared on the same held-out samples? By the manifests of prepared data.

Pure. The hashes of a split's shards say what a model sees of it: tokens, pixels, labels as numbers. What those numbers
stand for is the tokenizer's and the list of labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANING = {
    "form": "form",
    "has": "fields",
    "tokenizer_sha256": "tokenizer",
    "block_size": "block size",
    "label_kind": "kind of labels",
    "labels": "labels",
    "image": "size of images",
}
"""Keys of a manifest that say what the numbers in a shard stand for, and their words."""


def difference(manifests: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why figures of trainings over these data sets, by reference, do not compare; None: they do."""
    (first, base), *others = manifests.items()
    for reference, manifest in others:
        for key, words in MEANING.items():
            if manifest.get(key) != base.get(key):
                return f"{first} and {reference} do not compare: they differ in their {words}"
        if _held_out(manifest) != _held_out(base):
            return (
                f"{first} and {reference} do not compare: other samples are held out; give both the same "
                "source.validation, and a tokenizer that is not trained on the data"
            )
    return None


def _held_out(manifest: Mapping[str, Any]) -> list[str]:
    return [shard["sha256"] for shard in manifest["splits"]["validation"]["shards"]]
