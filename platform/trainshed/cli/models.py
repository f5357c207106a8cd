"""The verbs about what was made: models, endpoints, ask."""

from __future__ import annotations

from typing import Any

import typer

from trainshed.cli import context
from trainshed.cli.show import ago, own_name, print_json, print_table, say

ASK_TIMEOUT_S = 120.0


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(models)
    app.command()(alias)
    app.command()(endpoints)
    app.command()(ask)


def models(as_json: bool = context.JsonOption) -> None:
    """List registered model versions and their aliases.

    \b
    platform models
    """
    from trainshed.record.registry import aliases, all_versions

    storage = context.storage()
    found = [
        {
            **version.facts,
            "version": version.version,
            "aliases": [name for name, number in aliases(storage, version.name).items() if number == version.version],
        }
        for version in all_versions(storage)
    ]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            f"{one['name']}@{one['version']}",
            ", ".join(one["aliases"]) or "-",
            f"{one['metrics']['validation_loss']:.4f}",
            one["run_id"],
            one["fingerprint"][:16],
            ago(one["created_at"]),
        ]
        for one in found
    ]
    columns = ["MODEL", "ALIASES", "VALIDATION LOSS", "RUN", "FINGERPRINT", "REGISTERED"]
    print_table(columns, rows, empty="no models yet; a train job with `register: NAME` makes one")


def alias(
    model: str = typer.Argument(..., help="NAME@VERSION.", show_default=False),
    name: str = typer.Argument(..., help="The alias, like production.", show_default=False),
) -> None:
    """Point an alias at a model version, in one atomic step.

    \b
    platform alias stdlib-gpt@2 production
    """
    from trainshed.record.registry import set_alias

    version = set_alias(context.storage(), model, name)
    say(f"{version.name}@{name} is {version}")


def endpoints(
    name: str | None = typer.Argument(
        None, help="One endpoint: how to ask it, and how to take it down.", show_default=False
    ),
    as_json: bool = context.JsonOption,
) -> None:
    """List deployed endpoints and whether they answer now; with a name, how to use that one.

    \b
    platform endpoints
    platform endpoints stdlib-complete
    """
    from trainshed.record.endpoints import all_endpoints, get_endpoint

    storage = context.storage()
    listed = all_endpoints(storage) if name is None else [get_endpoint(storage, name)]
    found = [{**one, "answers": _answers(one["url"])} for one in listed]
    if as_json:
        print_json(found)
    elif name is not None:
        _print_how(found[0])
    else:
        rows = [
            [
                one["name"],
                one["url"],
                one["model"],
                "yes" if one["answers"] else "no",
                one["run_id"],
                ago(one["deployed_at"]),
            ]
            for one in found
        ]
        print_table(
            ["ENDPOINT", "URL", "MODEL", "ANSWERS", "RUN", "DEPLOYED"],
            rows,
            empty="no endpoints yet; a serve job makes one",
        )


def _print_how(one: dict[str, Any]) -> None:
    """Address, and the ways to ask again and to take it down, ready to paste."""
    key, url, model, verb = one["auth"][0], f"{one['url']}/v1", one["model"], own_name()
    typer.echo(f"""{one["name"]} serves {model} at {url} ({"answers" if one["answers"] else "does not answer"} now)

its key:
  export {key}=$(cat {context.home()}/secrets/{key})

ask again:
  {verb} ask {one["name"]} "import os"

  curl {url}/completions -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\
    -d '{{"model": "{model}", "prompt": "import os", "max_tokens": 40}}'

  import os; from openai import OpenAI         # pip install openai
  client = OpenAI(base_url="{url}", api_key=os.environ["{key}"])
  client.completions.create(model="{model}", prompt="import os", max_tokens=40)

what made it:  {verb} show {one["model_run"]}
take it down:  {verb} stop {one["run_id"]}
end the local cluster:  {verb} cluster down""")


def ask(
    endpoint: str = typer.Argument(..., help="The endpoint's name.", show_default=False),
    text: str = typer.Argument(..., help="The text to complete.", show_default=False),
    max_tokens: int = typer.Option(64, "--max-tokens", min=1, help="Tokens to write at most."),
    temperature: float = typer.Option(0.0, "--temperature", min=0.0, help="0 takes the likeliest token each time."),
    as_json: bool = context.JsonOption,
) -> None:
    """Ask an endpoint to complete a text; the answer streams as it is written.

    \b
    platform ask stdlib-complete "def main("
    platform ask stdlib-complete "import os" --max-tokens 100 --temperature 0.7
    """
    from trainshed.errors import ClusterError
    from trainshed.record.endpoints import get_endpoint
    from trainshed.record.secrets import need_secret

    found = get_endpoint(context.storage(), endpoint)
    import httpx  # a name that does not exist does not pay for it

    key = need_secret(found["auth"][0], context.home())
    question = {"model": found["model"], "prompt": text, "max_tokens": max_tokens, "temperature": temperature}
    try:
        with httpx.Client(
            base_url=found["url"], headers={"Authorization": f"Bearer {key}"}, timeout=ASK_TIMEOUT_S, trust_env=False
        ) as client:
            if as_json:
                answer = client.post("/v1/completions", json=question)
                _refuse_errors(answer)
                print_json(answer.json())
            else:
                _stream(client, question, text)
    except httpx.TransportError as error:
        raise ClusterError(
            f"{endpoint} does not answer at {found['url']}: {error}; `platform endpoints` shows which do"
        ) from None


def _stream(client: Any, question: dict[str, Any], prompt: str) -> None:
    import json

    typer.echo(prompt, nl=False)
    with client.stream("POST", "/v1/completions", json={**question, "stream": True}) as answer:
        _refuse_errors(answer)
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if line.startswith("data: ") and data != "[DONE]":
                chunk = json.loads(data)
                typer.echo("".join(choice["text"] for choice in chunk.get("choices", [])), nl=False)
    typer.echo("")


def _refuse_errors(answer: Any) -> None:
    from trainshed.errors import ClusterError

    if answer.status_code >= 400:
        answer.read()
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text.strip()[:300]
        raise ClusterError(f"{answer.url}: {answer.status_code}: {message}")


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/health", timeout=3, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
