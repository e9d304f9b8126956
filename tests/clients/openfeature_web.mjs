// Walks through contexts with OpenFeature's web SDK and its OFREP provider, which has all flags of a context at once.
//   node openfeature_web.mjs URL TOKEN < steps > answers
// A step is {"context", "questions": [{"type", "key", "default"}]}. An answer has `details`, one for each question, and
// `requests`: what went over the wire since the step before.
import { readFileSync } from 'node:fs';
import { OpenFeature } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const [url, token] = process.argv.slice(2);
const steps = JSON.parse(readFileSync(0, 'utf8'));
let requests = [];
const recordingFetch = async (request, options) => {
  const response = await fetch(request, options);
  requests.push({
    path: new URL(request.url).pathname,
    if_none_match: request.headers.get('if-none-match'),
    status: response.status,
    etag: response.headers.get('etag'),
  });
  return response;
};
const provider = new OFREPWebProvider({
  baseUrl: url,
  headers: [['X-API-Key', token]],
  fetchImplementation: recordingFetch,
});
const client = OpenFeature.getClient();
client.setLogger({ error() {}, warn() {}, info() {}, debug() {} });
const ask = {
  boolean: (q) => client.getBooleanDetails(q.key, q.default),
  string: (q) => client.getStringDetails(q.key, q.default),
  number: (q) => client.getNumberDetails(q.key, q.default),
  object: (q) => client.getObjectDetails(q.key, q.default),
};
const answers = [];
for (const [index, step] of steps.entries()) {
  let error = null;
  try {
    if (index === 0) {
      await OpenFeature.setProviderAndWait(provider, step.context);
    } else {
      await OpenFeature.setContext(step.context);
    }
  } catch (fault) {
    error = fault.name;
  }
  answers.push({ error, details: step.questions.map((q) => ask[q.type](q)), requests });
  requests = [];
}
console.log(JSON.stringify(answers));
await OpenFeature.close();
