"""Where a run is followed besides its Record: trackers of experiments, and what each has to be told.

A tracker is named (`report_to: [tensorboard]`), or stands with its settings (`{kind: mlflow, tracking_uri: ...}`).
Knows names of secrets, never a value; knows no library of a tracker.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, TypeAdapter

from trainshed.spec.document.part import Part, like

MLFLOW_SECRET = r"^MLFLOW_[A-Z0-9_]{1,57}$"  # noqa: S105 - what its name looks like
WANDB_SECRET = r"^WANDB_[A-Z0-9_]{1,58}$"  # noqa: S105 - the same
TRACKER_SECRETS = (MLFLOW_SECRET, WANDB_SECRET)

MlflowSecret = Annotated[
    str,
    like(
        MLFLOW_SECRET,
        "not the name of a secret of MLflow (like MLFLOW_TRACKING_TOKEN); never write its value",
        secret=True,
    ),
]
WandbSecret = Annotated[
    str, like(WANDB_SECRET, "not the name of a secret of W&B (like WANDB_API_KEY); never write its value", secret=True)
]


def _server(text: str) -> str:
    parts = urlsplit(text)
    if parts.username or parts.password:
        raise ValueError("an address holds no name and no password: say the names of secrets beside it")
    if parts.query or parts.fragment or not parts.hostname:
        raise ValueError(f"{text!r} is no address of a server, such as http://mlflow:5000")
    return text


Server = Annotated[
    str,
    like(r"^https?://[^\s]{1,255}$", "say the address of a server, such as http://mlflow:5000"),
    AfterValidator(_server),
]
Group = Annotated[str, Field(min_length=1, max_length=128)]


class TensorBoard(Part):
    """Event files in the run's own folder, `tensorboard/`."""

    extra: ClassVar[str] = "tensorboard"
    """The library, and the extra of the platform that brings it."""
    kind: Literal["tensorboard"] = "tensorboard"


class Mlflow(Part):
    """A run on an MLflow server; a sweep is a parent run, and each of its trials a child."""

    extra: ClassVar[str] = "mlflow"
    kind: Literal["mlflow"] = "mlflow"
    tracking_uri: Server | None = None
    """The server; where it is not given, the cluster's own MLFLOW_TRACKING_URI."""
    experiment: Group = "trainshed"
    """It is made where it is not there."""
    token: MlflowSecret | None = None
    """Name of the secret that holds a bearer's token."""
    username: MlflowSecret | None = None
    """Name of the secret that holds a user's name."""
    password: MlflowSecret | None = None
    """Name of the secret that holds this user's password."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """The variable that MLflow reads each secret from, and the secret's own name."""
        asked = {
            "MLFLOW_TRACKING_TOKEN": self.token,
            "MLFLOW_TRACKING_USERNAME": self.username,
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }
        return {variable: name for variable, name in asked.items() if name is not None}


class Wandb(Part):
    """A run of Weights & Biases; a sweep is a group, with a run of its own and one for each trial."""

    extra: ClassVar[str] = "wandb"
    kind: Literal["wandb"] = "wandb"
    project: Group = "trainshed"
    entity: Group | None = None
    """A user or a team; where it is not given, the key's own."""
    mode: Literal["online", "offline"] = "online"
    """offline: files in the run's own folder, `wandb/`, which `wandb sync` sends later."""
    server: Server | None = None
    """One of your own; where it is not given, the public one."""
    api_key: WandbSecret = "WANDB_API_KEY"
    """Name of the secret that holds the key; offline needs none."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """The variable that W&B reads its key from, and the secret's own name."""
        return {} if self.mode == "offline" else {"WANDB_API_KEY": self.api_key}


Tracker: TypeAlias = TensorBoard | Mlflow | Wandb
TrackerName: TypeAlias = Literal["tensorboard", "mlflow", "wandb"]
KINDS: Mapping[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": Mlflow, "wandb": Wandb}


def _tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in KINDS else None


AskedTracker = Annotated[
    Annotated[TrackerName, Tag("name")]
    | Annotated[TensorBoard, Tag("tensorboard")]
    | Annotated[Mlflow, Tag("mlflow")]
    | Annotated[Wandb, Tag("wandb")],
    Discriminator(
        _tag,
        custom_error_type="tracker",
        custom_error_message="a tracker is tensorboard, mlflow or wandb, or one with settings, like "
        "{kind: mlflow, tracking_uri: http://mlflow:5000}",
    ),
]


def _each_once(asked: tuple[TrackerName | Tracker, ...]) -> tuple[TrackerName | Tracker, ...]:
    kinds = [tracker.kind for tracker in trackers(asked)]
    twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} stands there twice; a run is one run in a tracker")
    return asked


ReportTo = Annotated[tuple[AskedTracker, ...], AfterValidator(_each_once)]
REPORT_TO: TypeAdapter[tuple[TrackerName | Tracker, ...]] = TypeAdapter(ReportTo)


def trackers(asked: tuple[TrackerName | Tracker, ...]) -> tuple[Tracker, ...]:
    """Each with its settings; one that was only named has those that hold where nothing is said."""
    return tuple(KINDS[one]() if isinstance(one, str) else one for one in asked)


def secrets_of(tracker: Tracker) -> Mapping[str, str]:
    """The variable that the tracker's library reads each secret from, and the secret's own name."""
    return {} if isinstance(tracker, TensorBoard) else tracker.secrets


def is_installed_here(tracker: Tracker) -> bool:
    """Whether the tracker's library is there for this Python; a folder of its name beside a job is none."""
    found = find_spec(tracker.extra)
    return found is not None and found.origin is not None
