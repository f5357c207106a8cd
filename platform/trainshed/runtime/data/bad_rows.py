"""What readers could not read, and what the job makes of it.

A reader is a task on some node; an error that it raised would come back as text, the first of many. So it leaves its
findings in the storage, file by file, and the driver reads them once all is read: the same findings in the same order,
whichever task was first and however often one was done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import BadRowsFacts
from trainshed.record.storage import Storage
from trainshed.runtime.report import Reporter
from trainshed.spec.data.bad_rows import Refuse, Skip
from trainshed.spec.data.rows import BadRow

SHOWN = 5
"""Bad rows that a message or a manifest names."""


@dataclass(frozen=True)
class BadRows:
    """The findings about one prepare job's files."""

    storage: Storage
    folder: str
    """Where the data will lie."""
    policy: Refuse | Skip

    @property
    def limit(self) -> int:
        """Bad rows that are left out; one more and the job fails."""
        return self.policy.limit if isinstance(self.policy, Skip) else 0

    @property
    def most(self) -> int:
        """After so many in one file there is no use in reading on."""
        return self.limit + SHOWN

    def keep(self, number: int, found: Sequence[BadRow]) -> None:
        """Keeps what was found in a file, by the file's number; done again it is the same."""
        rows = [[row.origin, row.found] for row in found]
        self.storage.write_json(f"{self._parts}/{number:09d}.json", rows)

    def judge(self, reporter: Reporter) -> BadRowsFacts | None:
        """What the manifest says of the rows that were left out; None where there are none.

        Raises:
            PlatformError: there are more than the job allows.
        """
        found = self._collected()
        self.storage.delete(self._parts)
        if len(found) > self.limit:
            raise PlatformError(self._refusal(found))
        if not found:
            return None
        kept = f"{self.folder}/bad_rows.jsonl"
        lines = [json.dumps({"origin": row.origin, "found": row.found}) for row in found]
        self.storage.write(kept, "".join(f"{line}\n" for line in lines).encode())
        reporter.log(f"{len(found)} bad rows are left out, see {self.storage.address(kept)}; the first: {found[0]}")
        return BadRowsFacts(left_out=len(found), first=tuple(map(str, found[:SHOWN])))

    @property
    def _parts(self) -> str:
        return f"{self.folder}/bad_rows"

    def _collected(self) -> list[BadRow]:
        parts = [self.storage.read_json(f"{self._parts}/{name}") for name in self.storage.names(self._parts)]
        return [BadRow(origin, found) for part in parts for origin, found in part]

    def _refusal(self, found: list[BadRow]) -> str:
        others = [row.origin for row in found[1:SHOWN]]
        more = " and more" if len(found) > SHOWN else ""
        also = f"; also {', '.join(others)}{more}" if others else ""
        if isinstance(self.policy, Skip):
            return f"{found[0]}{also}: more bad rows than bad_rows.limit, {self.limit}"
        return f"{found[0]}{also}; mend it, or leave such rows out with `bad_rows: {{kind: skip}}`"
