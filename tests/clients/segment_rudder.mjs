// The same through @rudderstack/rudder-sdk-node.
//   node segment_rudder.mjs URL WRITE_KEY < messages > errors
import { readFileSync } from 'node:fs';
import Analytics from '@rudderstack/rudder-sdk-node';

const [url, writeKey] = process.argv.slice(2);
const errors = [];
const analytics = new Analytics(writeKey, { dataPlaneUrl: url, flushAt: 100, gzip: true });
for (const [call, message] of JSON.parse(readFileSync(0, 'utf8'))) {
  analytics[call]({ ...message, ...(message.timestamp && { timestamp: new Date(message.timestamp) }) });
}
await new Promise((resolve) => analytics.flush((error) => resolve(error && errors.push(String(error)))));
console.log(JSON.stringify(errors));
process.exit(0);
