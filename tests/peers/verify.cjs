// Verifies deliveries with the official JavaScript library of Standard Webhooks.
//
// Each line in is {"secret", "id", "timestamp", "signature", "body"}; each line out is true or false, or a text that
// says what else went wrong.

const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const installed = createRequire(path.join(process.env.HOOKWEIR_PEERS, "node", "index.js"));
const { Webhook, WebhookVerificationError } = installed("standardwebhooks");

function verdict({ secret, id, timestamp, signature, body }) {
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (error) {
    const refused = error instanceof WebhookVerificationError && error.message === "No matching signature found";
    return refused ? false : String(error);
  }
}

// Not the module readline: it would split lines at U+2028 too, which JSON may hold as it is.
const lines = fs.readFileSync(0, "utf8").split("\n").filter((line) => line !== "");
for (const line of lines) console.log(JSON.stringify(verdict(JSON.parse(line))));
