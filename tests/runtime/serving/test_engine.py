"""The engine contract: the tokens of `generate`, alone or together; errors that stay with their request."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import aclosing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from trainshed.errors import PlatformError
from trainshed.runtime.serving.engines import (
    EngineDeadError,
    EngineFullError,
    EngineSettings,
    RequestError,
    Sampling,
    TextEngine,
    build_engine,
)
from trainshed.runtime.serving.engines.batching import BatchedModel

from .asking import WAIT_S, Answer, collect, generated, greedy, prompts_of, together, until_idle

LENGTHS = [(1, 8), (3, 40), (17, 20), (31, 5), (32, 50), (33, 10), (64, 60), (100, 30), (200, 56), (5, 1)]


def test_greedy_requests_together_equal_generate_also_after_a_restart(engine: TextEngine, gpt2_dir: Path) -> None:
    asks = prompts_of(LENGTHS)
    expected = generated(gpt2_dir, asks)
    again = build_engine(gpt2_dir, EngineSettings())
    for one in (engine, again):
        assert [tokens for tokens, _ in together(one, asks)] == expected
    again.stop()


def test_greedy_requests_to_another_architecture_equal_generate_too(llama_dir: Path) -> None:
    asks = prompts_of(LENGTHS)
    llama = build_engine(llama_dir, EngineSettings())
    assert [tokens for tokens, _ in together(llama, asks)] == generated(llama_dir, asks)
    llama.stop()


def test_requests_that_do_not_fit_the_cache_together_still_equal_generate(
    tight_engine: TextEngine, gpt2_dir: Path
) -> None:
    asks = prompts_of([(60, 100)] * 6)
    assert [tokens for tokens, _ in together(tight_engine, asks)] == generated(gpt2_dir, asks)


def seeded(lengths: list[tuple[int, int]]) -> list[tuple[list[int], Sampling]]:
    """Prompts with the seeds of their answers."""
    asks = prompts_of(lengths)
    return [(ids, Sampling(max_tokens=one.max_tokens, seed=number)) for number, (ids, one) in enumerate(asks)]


def test_sampled_requests_that_do_not_fit_the_cache_together_are_those_of_a_roomy_engine(
    gpt2_dir: Path, engine: TextEngine
) -> None:
    """Some lose their place and read their prompt again, in pieces, beside others that get a token."""
    asks = seeded([(60, 100)] * 12)
    crowded = build_engine(gpt2_dir, EngineSettings(cache_tokens=640, batch_tokens=64))
    assert together(crowded, asks) == together(engine, asks)
    crowded.stop()


def test_a_prompt_of_several_passes_does_not_end_its_sampling_neighbours(gpt2_dir: Path, engine: TextEngine) -> None:
    asks = seeded([(3, 60), (5, 60), (150, 20), (180, 20)])
    narrow = build_engine(gpt2_dir, EngineSettings(batch_tokens=32))
    assert together(narrow, asks) == together(engine, asks)
    narrow.stop()


def test_a_greedy_request_is_not_changed_by_sampling_neighbours(engine: TextEngine, gpt2_dir: Path) -> None:
    ask = prompts_of([(20, 40)])[0]
    neighbours = [([7, 8, 9], Sampling(max_tokens=60, temperature=2.0)) for _ in range(4)]
    answers = together(engine, [*neighbours, ask])
    assert answers[-1][0] == generated(gpt2_dir, [ask])[0]


def test_the_end_token_stops_an_answer(gpt2_dir: Path, tmp_path: Path) -> None:
    ask = ([5, 6, 7], greedy(30))
    tokens = generated(gpt2_dir, [ask])[0]
    end = tokens[6]
    folder = Path(shutil.copytree(gpt2_dir, tmp_path / "model"))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 319]}))
    engine = build_engine(folder, EngineSettings())
    assert together(engine, [ask]) == [(tokens[: tokens.index(end) + 1], "stop")]
    engine.stop()


def test_an_answer_of_max_tokens_finishes_by_length(engine: TextEngine) -> None:
    [(tokens, finish)] = together(engine, [([5, 6, 7], greedy(12))])
    assert (len(tokens), finish) == (12, "length")


def test_a_seed_gives_the_same_tokens_in_any_company(engine: TextEngine) -> None:
    seeded = ([5, 6, 7], Sampling(max_tokens=30, seed=11))
    [alone] = together(engine, [seeded])
    others = [([4] * length, Sampling(max_tokens=25)) for length in (3, 40, 90)]
    assert together(engine, [*others, seeded])[-1] == alone
    assert together(engine, [([5, 6, 7], Sampling(max_tokens=30, seed=12))]) != [alone]


def test_a_seed_draws_anew_for_every_token(engine: TextEngine) -> None:
    [(tokens, _)] = together(engine, [([5, 6, 7], Sampling(max_tokens=20, temperature=1e6, seed=3))])
    assert len(set(tokens)) > 10


def test_without_a_seed_two_samples_differ(engine: TextEngine) -> None:
    first, second = together(engine, [([5, 6, 7], Sampling(max_tokens=30))] * 2)
    assert first != second


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_the_narrowest_sampling_is_greedy(engine: TextEngine, narrow: dict[str, float]) -> None:
    prompt = [5, 6, 7]
    sampled, best = together(engine, [(prompt, Sampling(max_tokens=30, **narrow)), (prompt, greedy(30))])  # type: ignore[arg-type]
    assert sampled == best


def test_samples_follow_the_softmax_of_the_model(engine: TextEngine, gpt2_dir: Path) -> None:
    prompt = [5, 6, 7]
    model = AutoModelForCausalLM.from_pretrained(gpt2_dir)
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, -1].div(1.5).softmax(-1)
    asks = [(prompt, Sampling(max_tokens=1, temperature=1.5, seed=seed)) for seed in range(1500)]
    drawn = [tokens[0] for start in range(0, 1500, 50) for tokens, _ in together(engine, asks[start : start + 50])]
    likely = [index for index in expected.topk(8).indices.tolist() if index != 0]
    for token in likely:
        share, probability = drawn.count(token) / len(drawn), float(expected[token])
        assert abs(share - probability) < 5 * (probability * (1 - probability) / len(drawn)) ** 0.5


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "parameter", "says"),
    [
        ([], 5, "prompt", "empty"),
        ([320], 5, "prompt", "token 320 does not exist"),
        ([-1], 5, "prompt", "token -1 does not exist"),
        ([5] * 200, 57, "max_tokens", "context of 256 tokens"),
    ],
)
def test_a_bad_request_is_refused_and_its_neighbours_are_answered(
    engine: TextEngine, prompt: list[int], max_tokens: int, parameter: str, says: str
) -> None:
    async def both() -> list[Answer | BaseException]:
        good, bad = collect(engine, [5, 6], greedy(20)), collect(engine, prompt, greedy(max_tokens))
        return await asyncio.wait_for(asyncio.gather(good, bad, return_exceptions=True), WAIT_S)

    answer, error = asyncio.run(both())
    assert isinstance(answer, tuple)
    assert len(answer[0]) == 20
    assert isinstance(error, RequestError)
    assert error.parameter == parameter
    assert says in str(error)


def test_closing_an_answer_frees_its_slot_at_once(roomy_engine: TextEngine) -> None:
    """Its longest answer takes several seconds, so that it is seen when one is not cut short."""
    before = roomy_engine.generated_tokens

    async def leave_early() -> int:
        async with aclosing(roomy_engine.generate([5, 6], greedy(4000))) as steps:
            await anext(steps)
            running = roomy_engine.running_requests
        await until_idle(roomy_engine)
        return running

    assert asyncio.run(leave_early()) == 1
    assert roomy_engine.generated_tokens - before < 4000


def test_one_request_more_than_the_engine_holds_is_refused_at_once(tight_engine: TextEngine) -> None:
    async def fill() -> None:
        holders = [tight_engine.generate([5, 6], greedy(25)) for _ in range(6)]
        for holder in holders:
            await anext(holder)
        with pytest.raises(EngineFullError, match="6 requests"):
            await anext(tight_engine.generate([5, 6], greedy(2)))
        for holder in holders:
            await holder.aclose()
        await until_idle(tight_engine)
        assert len((await collect(tight_engine, [5, 6], greedy(2)))[0]) == 2

    asyncio.run(fill())


def test_a_dead_engine_fails_its_requests_and_its_check(own_engine: TextEngine) -> None:
    own_engine.check()

    async def break_it() -> None:
        waiting = asyncio.create_task(collect(own_engine, [5, 6], greedy(250)))
        while not own_engine.running_requests:
            await asyncio.sleep(0.01)
        own_engine._model.ask([10_000], greedy(2), lambda _: None, whole=True, loop=None)  # type: ignore[attr-defined]
        with pytest.raises(EngineDeadError):
            await asyncio.wait_for(waiting, WAIT_S)
        with pytest.raises(EngineDeadError):
            await asyncio.wait_for(collect(own_engine, [5, 6], greedy(2)), WAIT_S)

    asyncio.run(break_it())
    with pytest.raises(EngineDeadError, match="the engine has stopped"):
        own_engine.check()


def test_the_context_window_is_bounded_by_the_cache(tight_engine: TextEngine, gpt2_dir: Path) -> None:
    assert tight_engine.context_window == 192
    asks = [([5] * 64, greedy(128))]
    assert [tokens for tokens, _ in together(tight_engine, asks)] == generated(gpt2_dir, asks)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("tokenizer.json", "no tokenizer there"),
        ("config.json", "config.json is missing"),
        ("model.safetensors", "no model.safetensors and no"),
    ],
)
def test_an_incomplete_directory_is_refused(gpt2_dir: Path, tmp_path: Path, missing: str, says: str) -> None:
    folder = Path(shutil.copytree(gpt2_dir, tmp_path / "model"))
    (folder / missing).unlink()
    with pytest.raises(PlatformError, match=says):
        build_engine(folder, EngineSettings())


def test_an_export_with_missing_weights_is_not_served(gpt2_dir: Path, tmp_path: Path) -> None:
    gone = "transformer.ln_f.bias"
    folder = Path(shutil.copytree(gpt2_dir, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PlatformError, match=f"1 of the model's weights are missing in its files.*: {gone}"):
        build_engine(folder, EngineSettings())


def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no such directory"):
        build_engine(tmp_path / "nowhere", EngineSettings())


def test_a_tokenizer_larger_than_the_model_is_refused(gpt2_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(gpt2_dir, tmp_path / "model"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += [
        {**tokenizer["added_tokens"][0], "id": 400 + number, "content": f"<extra {number}>"} for number in range(80)
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(PlatformError, match="they do not belong together"):
        BatchedModel(folder, EngineSettings(), print)  # what the process of a model holds
