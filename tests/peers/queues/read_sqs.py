"""Amazon's SQS, read with boto3. PLACE is a queue; one whose name ends in .fifo is one."""

from common import done, password, place, port, tell, user, verb

import boto3

client = boto3.client(
    "sqs",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="eu-west-1",
    aws_access_key_id=user,
    aws_secret_access_key=password,
)
if verb == "prepare":
    attributes = {"MaximumMessageSize": "200000"} | ({"FifoQueue": "true"} if place.endswith(".fifo") else {})
    client.create_queue(QueueName=place, Attributes=attributes)
else:
    url = client.get_queue_url(QueueName=place)["QueueUrl"]
    while not done():
        answer = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=0,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        for message in messages:
            headers = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
            tell(headers["webhook-id"], message["Body"].encode(), headers=headers, attributes=message["Attributes"])
        if messages:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            client.delete_message_batch(QueueUrl=url, Entries=entries)
