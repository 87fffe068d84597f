// Consumes from a queue with Alibaba's official JavaScript SDK for SMQ, as it is published.
//
// Each line in is {"do", "url", "id", "secret", "queue", ...}; each line out tells what the SDK saw. `manners` tries
// every operation once; `consume` receives and deletes "count" messages, and leaves the first ones until they come again.

const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const installed = createRequire(path.join(process.env.HOOKWEIR_PEERS, "node", "index.js"));
const Client = installed("@alicloud/mns");

function opened(question, other = {}) {
  const { url, id, secret } = { ...question, ...other };
  return new Client("1", { accessKeyId: id, accessKeySecret: secret, endpoint: url });
}

/** The name of the error that a call ends with, as the SDK makes it of the answer's code. */
async function fault(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return error.name.replace(/^MNS/, "").replace(/Error$/, "");
  }
}

function seen(message) {
  const properties = message.UserProperties[0].PropertyValue;
  const id = properties.find((property) => property.Name === "webhook-id").Value;
  return { id, body: message.MessageBody, count: Number(message.DequeueCount), message_id: message.MessageId, md5: message.MessageBodyMD5 };
}

async function manners(question) {
  const client = opened(question);
  const { queue } = question;
  const told = {};
  const created = await client.createQueue(queue);
  told.created = [created.code, created.headers.location];
  told.made = await fault(() => client.createQueue("new"));
  const { body: meta } = await client.getQueueAttributes(queue);
  told.attributes = [meta.QueueName, Number(meta.VisibilityTimeout), Number(meta.ActiveMessages), Number(meta.InactiveMessages)];
  told.listed = (await client.listQueue()).body.map((queue) => queue.QueueURL);
  told.same = await fault(() => client.setQueueAttributes(queue, { VisibilityTimeout: meta.VisibilityTimeout }));
  told.other = await fault(() => client.setQueueAttributes(queue, { VisibilityTimeout: 77 }));
  told.deleted_queue = await fault(() => client.deleteQueue(queue));
  told.empty = await fault(() => client.receiveMessage(queue));
  // This SDK sends a body as it is.
  told.sent = (await client.sendMessage(queue, { MessageBody: "plain text", DelaySeconds: 0, Priority: 8 })).code;
  told.batch = (await client.batchSendMessage(queue, [{ MessageBody: "b25l" }, { MessageBody: "two" }])).body.length;
  told.peeked = [(await client.peekMessage(queue)).body, ...(await client.batchPeekMessage(queue, 16)).body].map((message) => message.MessageBody);
  const { body: first } = await client.receiveMessage(queue, 1);
  told.first = first.MessageBody;
  const changed = await client.changeMessageVisibility(queue, first.ReceiptHandle, 3600);
  told.extended = Number(changed.body.NextVisibleTime) > Number(first.NextVisibleTime);
  told.rest = (await client.batchReceiveMessage(queue, 16)).body.map((message) => message.MessageBody);
  told.deleted = (await client.deleteMessage(queue, changed.body.ReceiptHandle)).code;
  told.again = await fault(() => client.deleteMessage(queue, changed.body.ReceiptHandle));
  told.no_handle = await fault(() => client.deleteMessage(queue, "nonsense"));
  told.no_handles = (await client.batchDeleteMessage(queue, ["nonsense", changed.body.ReceiptHandle])).body.map((error) => error.ErrorCode);
  told.unknown = await fault(() => client.receiveMessage("nothing"));
  told.foreign = await fault(() => client.receiveMessage(question.foreign));
  told.wrong_secret = await fault(() => opened(question, { secret: "wrong" }).receiveMessage(queue));
  told.wrong_id = await fault(() => opened(question, { id: "nobody" }).receiveMessage(queue));
  return told;
}

async function consume(question) {
  const client = opened(question);
  const { queue, count } = question;
  const messages = new Map();
  const left = new Map();
  const gaps = [];
  const stale = new Set();
  const since = process.hrtime.bigint();
  for (const message of (await client.batchReceiveMessage(queue, 16, 5)).body) {
    left.set(message.MessageId, message.ReceiptHandle);
  }
  while (messages.size < count) {
    const { body: batch } = await client.batchReceiveMessage(queue, 16, 10);
    const now = process.hrtime.bigint();
    for (const message of batch) {
      if (left.has(message.MessageId)) {
        const handle = left.get(message.MessageId);
        left.delete(message.MessageId);
        gaps.push(Number(now - since) / 1e9);
        stale.add(await fault(() => client.deleteMessage(queue, handle)));
      }
      if (messages.has(message.MessageId)) return { failed: `received again after it was deleted: ${message.MessageId}` };
      messages.set(message.MessageId, seen(message));
    }
    const deleted = await client.batchDeleteMessage(queue, batch.map((message) => message.ReceiptHandle));
    if (deleted.code !== 204) return { failed: JSON.stringify(deleted) };
  }
  const empty = await fault(() => client.receiveMessage(queue));
  return { messages: [...messages.values()], left: left.size, gaps: gaps.sort((a, b) => a - b), stale: [...stale].sort(), empty };
}

async function main() {
  // Not the module readline: it would split lines at U+2028 too, which JSON may hold as it is.
  const lines = fs.readFileSync(0, "utf8").split("\n").filter((line) => line !== "");
  for (const line of lines) {
    const question = JSON.parse(line);
    const answer = await { manners, consume }[question.do](question);
    console.log(JSON.stringify(answer));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
