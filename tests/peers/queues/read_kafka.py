"""Kafka, read with librdkafka's Python client. PLACE is a topic with four partitions.

With SASL_MECHANISM in the environment, it logs in.
"""

import os

from common import done, password, place, port, tell, user, verb

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": f"127.0.0.1:{port}"}
if mechanism := os.environ.get("SASL_MECHANISM"):
    servers |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism}
    servers |= {"sasl.username": user, "sasl.password": password}
if verb == "prepare":
    admin = AdminClient(servers)
    for made in admin.create_topics([NewTopic(place, 4, 1)]).values():
        made.result(30)
else:
    consumer = Consumer({**servers, "group.id": "reader", "enable.auto.commit": False})
    partitions = consumer.list_topics(place, timeout=30).topics[place].partitions
    # Each from its start; joining a group would take longer than reading.
    consumer.assign([TopicPartition(place, number, 0) for number in partitions])
    while not done():
        for message in consumer.consume(500, timeout=0.5):
            assert message.error() is None, message.error()
            headers = {name: value.decode() for name, value in message.headers()}
            key = message.key()
            tell(
                headers["webhook-id"],
                message.value(),
                headers=headers,
                key=key and key.decode(),
                partition=message.partition(),
            )
    consumer.close()
