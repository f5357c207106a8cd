"""TensorBoard: event files in the run's folder, in the form that its own reader takes.

What was sent is forgotten by a session that starts at an earlier step: TensorBoard drops all later events before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import NULL_TENSOR, SESSION_END_INFO_TAG, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from trainshed.record.metric_rows import MetricRow
from trainshed.record.storage import Storage
from trainshed.record.tracking import TrackedFacts
from trainshed.runtime.trackers.tracker import Ending, Head, Outcome, Unavailable, figures_of, first_line

FOLDER = "tensorboard"
FILE_VERSION = "brain.Event:2"
FILE_BYTES = 4 << 20
"""An object store takes whole files only: a new one begins after so many bytes."""


class TensorBoardTracker:
    """Event files below one run's folder; trials have folders of their own in it."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = f"{folder}/{FOLDER}"

    def open(self, head: Head, known: TrackedFacts | None) -> TensorBoardRun:
        """The files of this run, which this process adds one to."""
        inner = f"/{head.name}" if head.kind == "trial" else ""
        run = TensorBoardRun(EventFile(self._storage, f"{self._folder}{inner}"), head, known)
        if known is None:
            run.take_back(0)  # a process may have died before it could note that it had begun
            run.begin(head)
        return run

    def close(self) -> None:
        """Does nothing: every event is in its file by now."""


class TensorBoardRun:
    """One folder of event files."""

    def __init__(self, file: EventFile, head: Head, known: TrackedFacts | None) -> None:
        self._file = file
        self.id = head.key
        self.where = file.folder
        self.stands = 0 if known is None else known.sent
        self._ended_s = None if known is None else known.ended_s

    def begin(self, head: Head) -> None:
        """Writes parameters and tags: as text, and for the table of parameters."""
        now = time.time()
        said = {**head.params, **head.tags}
        start = hparams_pb(dict(head.params), trial_id=head.key, start_time_secs=now)
        self._file.add([_event(now, 0, start), _event(now, 0, _text(head.kind, said))])

    def log(self, rows: Sequence[MetricRow]) -> None:
        """Adds one event a row."""
        self._file.add(_event(_time(row), row.step, _scalars(figures_of(row))) for row in rows)

    def take_back(self, step: int) -> None:
        """Begins a session at the next step."""
        self._ended_s = None
        start = SessionLog(status=SessionLog.START)
        self._file.add([Event(wall_time=time.time(), step=step + 1, session_log=start)])

    def end(self, ending: Ending) -> None:
        """Adds what came of the run; its status too where it succeeded, since the first status is shown for ever."""
        at = ending.time_s
        if self._ended_s == at:
            return
        events = [_event(at, 0, _text("end", {"outcome": ending.outcome.value, **ending.tags}))]
        if ending.outcome is Outcome.FINISHED:
            events.append(_event(at, 0, _success(at)))
        if ending.figures:
            events.append(_event(at, ending.step, _scalars(ending.figures)))
        self._file.add(events)

    def leave(self) -> None:
        """Does nothing: every event is in its file by now."""


class EventFile:
    """The newest event file of a folder, which one process adds to."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._relative = folder
        self._file: str | None = None
        self._held = b""

    @property
    def folder(self) -> str:
        """The folder, as TensorBoard is given it."""
        return self._storage.address(self._relative)

    def add(self, events: Iterable[Event]) -> None:
        """Appends events, all of them in one write.

        Raises:
            Unavailable: there is no room, or the storage does not answer.
        """
        content = b"".join(map(_record, events))
        try:
            self._write(content)
        except OSError as error:
            raise Unavailable(first_line(error)) from error

    def _write(self, content: bytes) -> None:
        if self._file is None or len(self._held) > FILE_BYTES:
            self._file = self._new()
            self._held = b""
            content = _record(Event(wall_time=time.time(), file_version=FILE_VERSION)) + content
        if not self._storage.is_local:
            self._held += content
            self._storage.write(self._file, self._held)
            return
        path = self._storage.path(self._file)
        self._storage.fs.create_dir(path.rpartition("/")[0], recursive=True)
        with open(path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(content) != len(content):
                    raise OSError(f"{path}: there is no room")
            except OSError:
                file.truncate(before)  # what fitted would stand there twice
                raise

    def _new(self) -> str:
        """A name behind those that are there, in the order that TensorBoard reads them."""
        there = [name for name in self._storage.names(self._relative) if name.startswith("events.")]
        return f"{self._relative}/events.out.tfevents.{int(time.time()):010d}.{len(there):05d}"


def _event(wall_time: float, step: int, summary: Summary) -> Event:
    return Event(wall_time=wall_time, step=step, summary=summary)


def _scalars(figures: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in figures.items()])


def _text(tag: str, said: Mapping[str, object]) -> Summary:
    lines = (f"    {name}: {json.dumps(value)}" for name, value in said.items())
    return text_pb(tag, "\n".join(lines))


def _success(time_s: float) -> Summary:
    """The end of a session, for the table of parameters; TensorBoard's own function for it needs TensorFlow."""
    end = HParamsPluginData(session_end_info=SessionEndInfo(status=Status.STATUS_SUCCESS, end_time_secs=time_s))
    metadata = create_summary_metadata(end)
    return Summary(value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=metadata, tensor=NULL_TENSOR)])


def _time(row: MetricRow) -> float:
    return row.measured("time") or 0.0


def _record(event: Event) -> bytes:
    buffer = BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
