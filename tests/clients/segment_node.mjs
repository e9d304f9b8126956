// Sends messages through @segment/analytics-node.
//   node segment_node.mjs URL WRITE_KEY < messages > errors
// A message is [call, arguments], as the SDK has them; both in JSON lists.
import { readFileSync } from 'node:fs';
import { Analytics } from '@segment/analytics-node';

const [url, writeKey] = process.argv.slice(2);
const errors = [];
const analytics = new Analytics({ writeKey, host: url, flushAt: 5, maxRetries: 1 });
analytics.on('error', (error) => errors.push(String(error.reason ?? error.code)));
for (const [call, message] of JSON.parse(readFileSync(0, 'utf8'))) {
  analytics[call]({ ...message, ...(message.timestamp && { timestamp: new Date(message.timestamp) }) });
}
await analytics.closeAndFlush({ timeout: 20000 });
console.log(JSON.stringify(errors));
