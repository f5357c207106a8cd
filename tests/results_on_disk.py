"""result.json as any version may have written it: for tests of what is read."""

from trainshed.record.run import now


def finished(record, state, **said):
    """The run has ended so, and its file says this."""
    record.storage.write_json(record.at("result.json"), {"state": state, "ended_at": now(), **said})
