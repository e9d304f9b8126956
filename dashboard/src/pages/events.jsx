import { useState } from "preact/hooks";
import { get, post } from "../api.js";
import { ago, integer, moment } from "../format.js";
import { useLive, useResource } from "../live.js";
import { Card, Empty, Field, Fault, Loaded, Tile, useAction } from "../ui.jsx";

const SHOWN = 50;

/** The newest events that fit. The log is read forwards, so it begins some way before its end and looks further back if need be. */
async function newest(user, type, signal) {
  const end = (await get("/status", { signal })).log.applied_lsn;
  let found = [];
  for (let back = 400; ; back *= 16) {
    const from = Math.max(1, end - back);
    const query = new URLSearchParams({ limit: "500", from_lsn: String(from) });
    if (user) query.set("user_id", user);
    if (type) query.set("event_type", type);
    let cursor = null;
    found = [];
    for (let page = 0; page < 4; page++) {
      const answer = await get(`/events?${query}${cursor ? `&cursor=${cursor}` : ""}`, { signal });
      found = [...found, ...answer.events].slice(-SHOWN);
      cursor = answer.next_cursor;
      if (cursor === null) break;
    }
    if (found.length >= SHOWN || from === 1 || back > 100000) return found.reverse();
  }
}

const example = '{"user_id": "user-1", "event_type": "conversion", "properties": {}}';

/** Sends one event and shows what the server says of it, the reason of a refusal above all. */
function Try({ onSent }) {
  const [text, set] = useState(example);
  const [said, say] = useState(null);
  const action = useAction();
  const send = async (event) => {
    event.preventDefault();
    say(null);
    const answer = await action.run(() => post("/events", JSON.parse(text)));
    if (answer) {
      say(answer);
      onSent();
    }
  };
  return (
    <Card title="Try an event" tip="It is really stored. A refused one comes back with its reason">
      <form class="fields" onSubmit={send}>
        <Field label="Event as JSON">{(attributes) => <textarea {...attributes} class="code" rows={3} value={text} onInput={(event) => set(event.target.value)} />}</Field>
        <Fault error={action.error} />
        {said && <p role="status" class="outcome yes">✓ {said.accepted} accepted, {said.duplicates} duplicates</p>}
        <div><button class="button" disabled={action.busy}>Send</button></div>
      </form>
    </Card>
  );
}

export function Events() {
  const live = useLive();
  const [user, setUser] = useState("");
  const [type, setType] = useState("");
  const list = useResource((signal) => newest(user, type, signal), `${user} ${type}`, live.lsn);
  const counts = live.status;
  return (
    <>
      <header class="page-head"><h1>Events</h1></header>
      {counts && (
        <dl class="tiles">
          <Tile label="Received" tip="Events in requests since the server started" value={integer(counts.events_received)} />
          <Tile label="Refused" tip="Of these, the ones that broke a rule. Their senders were told the reason; they are not stored" value={integer(counts.events_rejected)} tone={counts.events_rejected > 0 ? "warn" : ""} />
          <Tile label="Duplicates" tip="Events whose event_id was there already: they count once" value={integer(counts.events_duplicate)} />
          <Tile label="Stored" tip="Event records applied, of all times" value={integer(counts.events_applied)} />
        </dl>
      )}
      <Card title="The newest" tip="The last events that fit, the newest first" actions={<small>{live.state === "live" ? "as they come in" : ""}</small>}>
        <div class="bar">
          <input type="search" aria-label="Only of this user" placeholder="user id" value={user} onChange={(event) => setUser(event.target.value)} />
          <input type="search" aria-label="Only of this type" placeholder="event type" value={type} onChange={(event) => setType(event.target.value)} />
        </div>
        <Loaded of={list}>
          {(events) => (events.length === 0 ? <Empty title="No events">None that fit are among the newest.</Empty> : (
            <div class="table" tabIndex={0} role="region" aria-label="Events">
              <table>
                <thead><tr><th scope="col">Arrived</th><th scope="col">Type</th><th scope="col">User</th><th scope="col">Properties</th><th scope="col">Event id</th><th scope="col" class="right">Record</th></tr></thead>
                <tbody>
                  {events.map((event) => (
                    <tr key={event.lsn} class="new-event">
                      <td><span data-tip={`Happened ${moment(event.timestamp)}, arrived ${moment(event.received_at)}`}>{ago(event.received_at)}</span></td>
                      <td><strong>{event.event_type}</strong></td>
                      <td><code>{event.user_id}</code></td>
                      <td><code>{JSON.stringify(event.properties)}</code></td>
                      <td><code>{event.event_id ?? "–"}</code></td>
                      <td class="right">{integer(event.lsn)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          ))}
        </Loaded>
      </Card>
      <Try onSent={list.reload} />
    </>
  );
}
