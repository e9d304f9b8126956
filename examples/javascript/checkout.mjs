// Shows a user the variant of an experiment, and counts a purchase.
//   node checkout.mjs EXPERIMENT USER          ASSAY_URL, ASSAY_TOKEN: the server, and a token with assign and events:write
const { ASSAY_URL: url, ASSAY_TOKEN: token } = process.env;

async function call(method, path, body) {
  return fetch(url + path, {
    method,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(2000),
  });
}

// Without an answer the user gets the control, and is not part of the experiment.
async function variantOf(experiment, user, attributes, control = 'control') {
  try {
    const query = new URLSearchParams(attributes);
    const answer = await call('GET', `/experiments/${experiment}/assignment/${encodeURIComponent(user)}?${query}`);
    return answer.ok ? ((await answer.json()).variant ?? control) : control;
  } catch {
    return control;
  }
}

// Again and again until it is acknowledged: its id makes it count once.
async function send(event, patience = 20000) {
  const end = Date.now() + patience;
  for (let pause = 100; ; pause *= 2) {
    let answer = null;
    try {
      answer = await call('POST', '/events', event);
    } catch {
      // not reached, or not in time
    }
    if (answer?.ok) return answer.json();
    if (answer && answer.status < 500 && answer.status !== 429) throw new Error(await answer.text()); // a mistake in this program
    pause = Math.max(pause, 1000 * Number(answer?.headers.get('Retry-After') ?? 0));
    if (Date.now() + pause > end) throw new Error(`not acknowledged within ${patience} ms; keep it, and send it later`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const [experiment, user] = process.argv.slice(2);
console.log(`${user} sees ${await variantOf(experiment, user, { country: 'US' })}`);
const answer = await send({
  event_id: `order-${user}-1`, user_id: user, event_type: 'purchase', properties: { amount: 29.99, currency: 'EUR' },
});
console.log(`${answer.accepted} counted, ${answer.duplicates} known already`);
