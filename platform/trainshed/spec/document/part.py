"""The base of every piece of a job document, and the constrained types they share.

Knows pydantic; knows nothing of YAML, files or Ray. A `Part` is closed (an unknown key is an error) and frozen.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Part(BaseModel):
    """A closed, frozen piece of a job document."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


SAID_OF_PATTERNS: dict[str, str] = {}
"""What a fault says where text is not like its pattern."""


SECRET_PATTERNS: set[str] = set()
"""Of names of secrets: what stands there instead may be the secret itself, and is not repeated."""


def like(pattern: str, say: str, *, secret: bool = False) -> StringConstraints:
    """Text of a pattern; `say` is what to write there. `secret`: it is the name of one."""
    SAID_OF_PATTERNS[pattern] = say
    if secret:
        SECRET_PATTERNS.add(pattern)
    return StringConstraints(pattern=pattern)


Name = Annotated[
    str,
    like(
        r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
        "a name has lower case letters, digits and inner hyphens, 40 at most",
    ),
]
"""Lower case letters, digits and inner hyphens, 40 at most: it becomes a folder and a route."""

RunRef = Annotated[str, like(r"^run://[a-z0-9][a-z0-9-]{0,79}$", "say run://NAME, the name of a run")]
"""`run://NAME` (the newest run of that name that succeeded) or `run://RUN_ID`."""

SECRET_PATTERN = r"^[A-Z][A-Z0-9_]{0,63}$"  # noqa: S105 - what its name looks like
OTHERS_SECRETS = re.compile(
    r"(AWS|AZURE|ARM|GOOGLE|GCLOUD|GCP|CLOUDSDK|RAY|KUBE\w*|DOCKER|GITHUB|GH|GITLAB|CI|SSH|GPG|NPM|PIP|PYPI|UV|TWINE"
    r"|HF|HUGGINGFACE|HUGGING_FACE|WANDB|MLFLOW|COMET|NEPTUNE|OPENAI|ANTHROPIC|DATABASE|DB|PG|MYSQL|REDIS|VAULT)_\w*"
    r"|PLATFORM_(HOME|STORAGE|ADDRESS|PROFILE|SERVE_\w*|CLUSTER_\w*)|PATH|HOME|USER|SHELL|PWD|MAIL|KUBECONFIG"
)
"""Variables that clouds, registries and other programs read, and our own settings: never the key of an endpoint."""


def _own_secret(name: str) -> str:
    if OTHERS_SECRETS.fullmatch(name):
        raise ValueError(f"{name} is a variable of another program; give the endpoint a key of its own")
    return name


SecretName = Annotated[
    str,
    like(
        SECRET_PATTERN, "not the name of a secret (like PLATFORM_API_KEY); write its name, never its value", secret=True
    ),
    AfterValidator(_own_secret),
]
"""The name of an endpoint's key, never its value, and never a variable that other programs read."""

Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
