"""What became of tokenised samples: cut, left out, refused; counted split by split for the log and the manifest."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pyarrow as pa

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import SplitFacts
from trainshed.runtime.data.tokens import LEFT_OUT, Tokens
from trainshed.spec.data.bad_rows import Refuse, Skip
from trainshed.spec.data.prepare import PrepareJob

FATE = pa.field("fate", pa.string())
WHY = pa.field("why", pa.string())
FOUND = pa.field("found", pa.int64())
AS_ASKED = pa.field("as_asked", pa.bool_())
COLUMNS = (FATE, WHY, FOUND, AS_ASKED)
"""What stands beside a sample on its way to the driver."""


def columns_of(rows: list[Tokens]) -> dict[str, pa.Array]:
    """The fate of each sample."""
    return {
        FATE.name: pa.array([row.fate for row in rows], FATE.type),
        WHY.name: pa.array([row.why for row in rows], WHY.type),
        FOUND.name: pa.array([row.found for row in rows], FOUND.type),
        AS_ASKED.name: pa.array([row.as_asked for row in rows], AS_ASKED.type),
    }


@dataclass
class Fates:
    """The fates of all samples of a job, in the driver."""

    job: PrepareJob
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unlike: Counter[str] = field(default_factory=Counter)

    def kept(self, split: str, table: pa.Table) -> pa.Table:
        """The samples of a split that are not left out; the others are counted.

        Raises:
            PlatformError: one is too long, or refused by its template, and the job wants no such samples.
        """
        fates = table[FATE.name].to_pylist()
        self.counts[split].update(fates)
        self.unlike[split] += table[AS_ASKED.name].to_pylist().count(False)
        self._refuse(table, fates)
        if not set(fates) & set(LEFT_OUT):
            return table
        return table.take(pa.array([number for number, fate in enumerate(fates) if fate not in LEFT_OUT], pa.int64()))

    def said_of(self, split: str, facts: SplitFacts) -> SplitFacts:
        """A split's facts with what became of its samples."""
        counts = self.counts[split]
        left_out = {fate: counts[fate] for fate in LEFT_OUT if counts[fate]}
        return facts.model_copy(update={"cut": counts["cut"], "left_out": left_out, "not_as_asked": self.unlike[split]})

    def _refuse(self, table: pa.Table, fates: list[str]) -> None:
        policy = self.job.bad_rows
        if self.job.too_long == "refuse" and "too long" in fates:
            number = fates.index("too long")
            found = (
                f"{table['origin'][number]}: {table[FOUND.name][number]} tokens, over the {self._limit} of {self._key}"
            )
            raise PlatformError(f"{found}; raise it, or say too_long: cut_right, cut_left or drop")
        if "refused" not in fates:
            return
        refused = sum(counts["refused"] for counts in self.counts.values())
        if isinstance(policy, Refuse) or (isinstance(policy, Skip) and refused > policy.limit):
            number = fates.index("refused")
            raise PlatformError(
                f"{table['origin'][number]}: {table[WHY.name][number]}; mend it, or leave such rows out with "
                "`bad_rows: {kind: skip}`"
            )

    @property
    def _limit(self) -> int:
        return self.job.context

    @property
    def _key(self) -> str:
        return "pack.block_size" if self.job.pack is not None else "examples.max_tokens"


def lines_of(facts: SplitFacts, job: PrepareJob) -> list[str]:
    """What there is to say of a split: how full its blocks are, what was cut, left out, or is asked otherwise."""
    said = []
    if job.apart and job.pack is not None:
        share = facts.tokens / max(1, facts.blocks * job.pack.block_size)
        said.append(f"{facts.documents:,} documents in {facts.blocks:,} blocks, {share:.1%} of their tokens real")
    if facts.cut:
        said.append(f"{facts.cut:,} were longer than {job.context} tokens and are cut; see too_long")
    for fate, count in facts.left_out.items():
        said.append(f"{count:,} left out: {fate}")
    if facts.not_as_asked:
        said.append(
            f"{facts.not_as_asked:,} conversations begin their last answer otherwise than the chat template asks for "
            "one: the endpoint will ask with tokens that were not trained on"
        )
    return said
