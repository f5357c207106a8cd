"""Documents fitted into blocks beside one another, each whole in one block: few tokens of a block are padding.

Best fit decreasing over a window of documents (Johnson 1973), so that memory stays the same however many there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from trainshed.runtime.data.tokens import Tokens

WINDOW = 4096
"""Documents that are fitted together."""
FULL_SHARE = 0.98
"""A block with so many of its tokens taken is given away before the last document is there."""

Block = list[Tokens]


@dataclass
class BlockFitter:
    """Takes documents one by one and gives blocks of them; a document is never longer than a block."""

    block_size: int
    _held: list[Tokens] = field(default_factory=list)

    def add(self, document: Tokens) -> Iterator[Block]:
        """The blocks that are full once this document is there."""
        self._held.append(document)
        if len(self._held) >= WINDOW:
            yield from self._give(last=False)

    def close(self) -> Iterator[Block]:
        """The rest, full or not."""
        yield from self._give(last=True)

    def _give(self, *, last: bool) -> Iterator[Block]:
        blocks = self._fitted()
        given = [block for block in blocks if last or self._is_full(block)]
        if not given or sum(map(len, given)) < WINDOW // 2:  # go on, whatever the lengths are
            given = blocks
        chosen = {id(block) for block in given}
        self._held = [document for block in blocks if id(block) not in chosen for document in block]
        yield from given

    def _fitted(self) -> list[Block]:
        """Each document in the block with the least room that still holds it, the longest documents first."""
        order = np.argsort([-len(document.ids) for document in self._held], kind="stable")
        blocks: list[Block] = []
        rooms: list[tuple[int, int]] = []
        for number in order:
            document = self._held[number]
            size = len(document.ids)
            place = bisect_left(rooms, (size, -1))
            if place == len(rooms):
                blocks.append([])
                room, block = self.block_size, len(blocks) - 1
            else:
                room, block = rooms.pop(place)
            blocks[block].append(document)
            insort(rooms, (room - size, block))
        return blocks

    def _is_full(self, block: Block) -> bool:
        return sum(len(document.ids) for document in block) >= FULL_SHARE * self.block_size


def pieces_of(document: Tokens, block_size: int) -> Iterator[Tokens]:
    """A document in pieces that fit a block each; most are one."""
    for start in range(0, len(document.ids), block_size):
        yield Tokens(document.ids[start : start + block_size])
