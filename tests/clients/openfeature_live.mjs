// Keeps OpenFeature's web provider open, as a page does, and prints a line of JSON with a flag's value: at first, and whenever the
// provider says that flags have changed. Ends with its standard input.
//   node openfeature_live.mjs URL TOKEN FLAG TARGETING_KEY
import { EventSource } from 'eventsource';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

globalThis.EventSource = EventSource; // browsers have it
const [url, token, flag, targetingKey] = process.argv.slice(2);
const client = OpenFeature.getClient();
const tell = () => console.log(JSON.stringify(client.getStringDetails(flag, 'default').value));
await OpenFeature.setContext({ targetingKey });
await OpenFeature.setProviderAndWait(
  // Without a poll: what is heard is heard by the stream.
  new OFREPWebProvider({ baseUrl: url, headers: [['X-API-Key', token]], pollInterval: 3600000 }),
);
tell();
client.addHandler(ProviderEvents.ConfigurationChanged, tell);
process.stdin.on('end', async () => {
  await OpenFeature.close();
  process.exit(0);
});
process.stdin.resume();
