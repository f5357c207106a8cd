"""Names that become folders, file names, addresses or variables, as types.

What storage holds is read as if a stranger had written it: each name is of one path segment and of few characters.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, TypeAdapter, ValidationError

from trainshed.spec.document.part import Name, like

RunId = Annotated[str, like(r"^[a-z0-9][a-z0-9-]{0,79}$", "no id of a run")]
"""A name with the time of its submission and a few random characters; it is a folder in `runs`."""

SubmissionId = Annotated[str, like(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,159}$", "no id of a submission")]
"""It is a part of an address of Ray's Jobs interface."""

ModelName = Annotated[str, like(r"^[a-z0-9][a-z0-9-]{0,39}$", "no name of a model")]
"""As `spec.document.locations.ModelRef` begins; it is a folder in `models`."""

Alias = Annotated[
    str, like(r"^[a-z][a-z0-9-]{0,63}$", "lower case letters, digits and hyphens, starting with a letter")
]

Kind = Annotated[str, like(r"^[a-z][a-z_]{0,39}$", "no kind of a job")]

FileName = Annotated[str, like(r"^[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,199}$", "no plain file name")]
"""A file of a model or a shard, right in its folder."""

PartName = Annotated[
    str, like(r"^worker-[0-9]{5,}-[A-Za-z0-9_]{1,40}\.safetensors$", "no worker's part of a checkpoint")
]

DataFolder = Annotated[str, like(r"^data/[A-Za-z0-9][A-Za-z0-9-]{0,127}$", "no folder of prepared data")]

ExportName = Annotated[str, like(r"^[a-z]{1,20}$", "no name of an export")]
"""The folder in a run: model, adapter."""

ModelFolder = Annotated[str, like(r"^runs/[a-z0-9][a-z0-9-]{0,79}/model$", "no model of a run")]

TrialName = Annotated[str, like(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", "no name of a trial")]
"""In a result; the folder of a trial is named by its number."""

Sha256 = Annotated[str, like(r"^[0-9a-f]{64}$", "no SHA-256")]

Fingerprint = Annotated[str, like(r"^[0-9a-f]{8,64}$", "no fingerprint")]

ServedModel = Annotated[
    str, like(r"^[a-z0-9][a-z0-9-]{0,79}(@[1-9][0-9]{0,8})?$", "neither NAME@VERSION nor the id of a run")
]
"""How an endpoint calls the model that it serves."""


def _url(text: str) -> str:
    parts = urlsplit(text)
    plain = parts.scheme in ("http", "https") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if not plain or not parts.hostname or parts.port == 0:
        raise ValueError("not the address of an endpoint, such as http://HOST:8000/NAME")
    return text


Url = Annotated[
    str,
    like(r"^https?://[A-Za-z0-9.:_\[\]-]{1,255}(/[A-Za-z0-9._~-]+)*$", "not an address such as http://HOST:8000/NAME"),
    AfterValidator(_url),
]
"""Where an endpoint answers: scheme, host, port and a plain path; it is pasted into commands."""


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


Time = Annotated[str, AfterValidator(_time)]
"""ISO 8601 with a zone."""

RUN_ID: TypeAdapter[str] = TypeAdapter(RunId)
JOB_NAME: TypeAdapter[str] = TypeAdapter(Name)
MODEL_NAME: TypeAdapter[str] = TypeAdapter(ModelName)
ALIAS: TypeAdapter[str] = TypeAdapter(Alias)
FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)


def is_one(kind: TypeAdapter[str], text: str) -> bool:
    """Whether a text is a name of that kind."""
    try:
        kind.validate_python(text)
    except ValidationError:
        return False
    return True


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot: what operating systems and editors leave in folders, and no fault of them."""
    return name.startswith(".")
