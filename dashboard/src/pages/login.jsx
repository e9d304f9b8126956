import { useState } from "preact/hooks";
import { token } from "../api.js";
import { Field } from "../ui.jsx";

/** Is this a token of the server? One that may not read experiments gets 403, which is good enough to come in. */
async function check(text) {
  const response = await fetch("/experiments?limit=1", { credentials: "omit", cache: "no-store", headers: { Authorization: `Bearer ${text}` } });
  return response.status === 401 ? "The server does not know this token, or it has expired or was revoked." : "";
}

export function Login({ message, onDone }) {
  const [text, set] = useState("");
  const [error, setError] = useState(message);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    const fault = /^[\x21-\x7e]+$/.test(text) ? await check(text).catch(() => "The server could not be reached.") : "A token is one word, such as assay_KgnHW...";
    setBusy(false);
    setError(fault);
    if (fault === "") {
      token.set(text);
      onDone();
    }
  };
  return (
    <main class="login">
      <form class="card" onSubmit={submit}>
        <svg class="logo" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" /><path d="M6 11h14M10 21h16" /><circle cx="13" cy="11" r="3.6" /><circle class="second" cx="19" cy="21" r="3.6" /></svg>
        <h1>assay</h1>
        <p class="lead">Experiments, and results to believe.</p>
        <Field label="Access token" error={error} hint="The first one is in the file admin-token of the data directory. It is kept in this tab only.">
          {(attributes) => (
            <input {...attributes} type="password" autoComplete="off" autoFocus required spellcheck={false} value={text} onInput={(event) => set(event.target.value.trim())} />
          )}
        </Field>
        <button class="button primary wide" disabled={busy}>{busy ? "Asking the server" : "Sign in"}</button>
      </form>
    </main>
  );
}
