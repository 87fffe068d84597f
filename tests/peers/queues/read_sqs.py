"""Amazon's SQS, read with boto3. PLACE is a queue; one whose name ends in .fifo is one.

`guard` makes an access key that may use queues, tells it, and has moto verify each request from then on.
"""

import json
import urllib.request

from common import done, password, place, port, tell, user, verb

import boto3

server = f"http://127.0.0.1:{port}"


def service(name):
    return boto3.client(
        name,
        endpoint_url=server,
        region_name="eu-west-1",
        aws_access_key_id=user,
        aws_secret_access_key=password,
    )


client = service("sqs")
if verb == "guard":
    iam = service("iam")
    iam.create_user(UserName=user)
    allowed = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=user, PolicyName="queues", PolicyDocument=policy)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    verify_all = urllib.request.Request(
        f"{server}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(verify_all).close()
    print(json.dumps({"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}))
elif verb == "prepare":
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
