// Asks flags through OpenFeature's server SDK and its OFREP provider.
//   node openfeature_server.mjs URL TOKEN < questions > answers
// A question is {"type", "key", "default", "context"}, an answer the SDK's evaluation details; both in JSON lists.
import { readFileSync } from 'node:fs';
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const [url, token] = process.argv.slice(2);
const questions = JSON.parse(readFileSync(0, 'utf8'));
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers: [['Authorization', `Bearer ${token}`]] }));
const client = OpenFeature.getClient();
client.setLogger({ error() {}, warn() {}, info() {}, debug() {} });
const ask = {
  boolean: (q) => client.getBooleanDetails(q.key, q.default, q.context),
  string: (q) => client.getStringDetails(q.key, q.default, q.context),
  number: (q) => client.getNumberDetails(q.key, q.default, q.context),
  object: (q) => client.getObjectDetails(q.key, q.default, q.context),
};
const answers = [];
for (const question of questions) {
  answers.push(await ask[question.type](question));
}
console.log(JSON.stringify(answers));
await OpenFeature.close();
