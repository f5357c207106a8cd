"""What clients are told that find no place: at first to come again at once, in a crowd at different times."""

import asyncio

import httpx

from trainshed.runtime.serving.gate import LONGEST_RETRY_S, REFUSED_A_SECOND, Gate


def test_a_crowd_is_told_to_come_again_at_different_times_and_a_single_client_soon():
    free = asyncio.Event()

    async def answering(_scope, _receive, send):
        await free.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def crowd():
        transport = httpx.ASGITransport(Gate(answering, places=1, queue=0))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            answered = asyncio.create_task(client.post("/v1/completions"))
            await asyncio.sleep(0)
            asked = (client.post("/v1/completions") for _ in range(20 * REFUSED_A_SECOND))
            refused = await asyncio.gather(*asked)
            await asyncio.sleep(1.1)
            later = await client.post("/v1/completions")
            free.set()
            return await answered, refused, later

    answered, refused, later = asyncio.run(crowd())
    assert answered.status_code == 204
    assert {answer.status_code for answer in (*refused, later)} == {503}
    told = [int(answer.headers["retry-after"]) for answer in refused]
    assert set(told[:REFUSED_A_SECOND]) == {1}
    assert set(told[-10 * REFUSED_A_SECOND :]) == set(range(1, LONGEST_RETRY_S + 1)), "all of them come back at once"
    assert later.headers["retry-after"] == "1"
