import { useState } from "preact/hooks";
import { getAll, post, remove } from "../api.js";
import { ago, day } from "../format.js";
import { useLive, useResource } from "../live.js";
import { Card, Confirm, Fault, Field, Loaded, useAction } from "../ui.jsx";

const scopes = [
  ["admin", "Everything"],
  ["experiments:read", "Read experiments and metrics"],
  ["experiments:write", "Change them"],
  ["assign", "Ask which variant a user gets"],
  ["events:write", "Send events"],
  ["results:read", "Read results"],
];

function Create({ onMade }) {
  const [name, setName] = useState("");
  const [chosen, choose] = useState(["assign", "events:write"]);
  const [expires, setExpires] = useState("");
  const [made, setMade] = useState(null);
  const action = useAction();
  const submit = async (event) => {
    event.preventDefault();
    const token = await action.run(() => post("/tokens", { name, scopes: chosen, ...(expires ? { expires_at: `${expires}T23:59:59Z` } : {}) }));
    if (token) {
      setMade(token);
      setName("");
      onMade();
    }
  };
  return (
    <Card title="New token">
      <Fault error={action.error} />
      {made && (
        <div role="status">
          <strong>Copy “{made.name}” now: it is shown this once.</strong>
          <div class="secret"><code>{made.token}</code><button type="button" class="button small" onClick={() => navigator.clipboard?.writeText(made.token)}>Copy</button></div>
        </div>
      )}
      <form class="fields" onSubmit={submit}>
        <div class="fields two">
          <Field label="Name">{(attributes) => <input {...attributes} required maxLength={200} placeholder="web shop" value={name} onInput={(event) => setName(event.target.value)} />}</Field>
          <Field label="Expires" hint="Empty: never">{(attributes) => <input {...attributes} type="date" value={expires} onInput={(event) => setExpires(event.target.value)} />}</Field>
        </div>
        <fieldset class="plain"><legend>May</legend>
          <div class="picks">
            {scopes.map(([scope, tip]) => (
              <label key={scope} class="pick" data-tip={tip}>
                <input type="checkbox" checked={chosen.includes(scope)} onChange={(event) => choose(event.target.checked ? [...chosen, scope] : chosen.filter((one) => one !== scope))} />
                {scope}
              </label>
            ))}
          </div>
        </fieldset>
        <div><button class="button primary" disabled={action.busy || chosen.length === 0}>Make the token</button></div>
      </form>
    </Card>
  );
}

function state(token) {
  if (token.revoked_at) return ["revoked", "tone-bad"];
  if (token.expires_at && Date.parse(token.expires_at) < Date.now()) return ["expired", "tone-wait"];
  return ["good", "tone-good"];
}

export function Tokens() {
  const live = useLive();
  const list = useResource(() => getAll("/tokens", "tokens"), "tokens", live.definitions);
  const [asked, ask] = useState(null);
  const action = useAction();
  const revoke = (token) => action.run(async () => {
    await remove(`/tokens/${token.id}`);
    list.reload();
  });
  return (
    <>
      <header class="page-head"><h1>Tokens</h1><p>Who may talk with this server. Give each program its own, with no more than it needs.</p></header>
      <Create onMade={list.reload} />
      <Fault error={action.error} />
      <Card title="All tokens">
        <Loaded of={list}>
          {(tokens) => (
            <div class="table" tabIndex={0} role="region" aria-label="Tokens">
              <table>
                <thead><tr><th scope="col">Name</th><th scope="col">May</th><th scope="col">Made</th><th scope="col">Expires</th><th scope="col">State</th><th scope="col"><span class="sr">Revoke</span></th></tr></thead>
                <tbody>
                  {[...tokens].reverse().map((token) => {
                    const [word, tone] = state(token);
                    return (
                      <tr key={token.id}>
                        <th scope="row">{token.name}<small><code>{token.id.slice(-6)}</code></small></th>
                        <td>{token.scopes.join(", ")}</td>
                        <td>{ago(token.created_at)}</td>
                        <td>{token.expires_at ? day(token.expires_at) : "never"}</td>
                        <td><span class={`badge ${tone}`}>{word}</span></td>
                        <td class="right">{word === "good" && <button type="button" class="button small danger" onClick={() => ask(token)}>Revoke<span class="sr"> {token.name}</span></button>}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
          )}
        </Loaded>
      </Card>
      {asked && (
        <Confirm title={`Revoke “${asked.name}”?`} action="Revoke" danger onDone={(yes) => { ask(null); if (yes) revoke(asked); }}>
          Whoever uses it is refused from the next request on. This cannot be taken back.
        </Confirm>
      )}
    </>
  );
}
