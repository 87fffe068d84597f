"""NATS JetStream, read with nats-py. PLACE is a stream; its subjects are PLACE.>"""

import asyncio

from common import done, password, place, port, tell, user, verb, wanted

import nats


async def main():
    connection = await nats.connect(f"nats://127.0.0.1:{port}", user=user, password=password)
    stream = connection.jetstream()
    if verb == "prepare":
        await stream.add_stream(name=place, subjects=[f"{place}.>"], max_msg_size=200_000)
    else:
        reader = await stream.pull_subscribe(f"{place}.>", stream=place)
        while not done():
            try:
                messages = await reader.fetch(500, timeout=0.5)
            except asyncio.TimeoutError:  # nats-py raises this one and its own, which is one of these
                continue
            for message in messages:
                headers = dict(message.headers or {})
                tell(headers["Nats-Msg-Id"], message.data, subject=message.subject, headers=headers)
                await message.ack()
    await connection.close()


asyncio.run(main())
