"""RabbitMQ, read with pika. PLACE is an exchange and a durable queue that is bound to it for every key."""

from common import done, password, place, port, tell, user, verb

import pika

credentials = pika.PlainCredentials(user, password)
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, credentials=credentials))
channel = connection.channel()
if verb == "prepare":
    channel.exchange_declare(place, exchange_type="topic", durable=True)
    channel.queue_declare(place, durable=True)
    channel.queue_bind(place, place, "hooks.#")
else:
    for method, properties, body in channel.consume(place, inactivity_timeout=0.5):
        if method is not None:
            headers = dict(properties.headers or {})
            tell(
                properties.message_id,
                body,
                routing_key=method.routing_key,
                headers=headers,
                delivery_mode=properties.delivery_mode,
            )
            channel.basic_ack(method.delivery_tag)
        if done():
            break
    channel.cancel()
connection.close()
