import { useState } from "preact/hooks";
import { get, getAll, part } from "../api.js";
import { moment, number } from "../format.js";
import { useResource } from "../live.js";
import { Card, Empty, Field, Loaded } from "../ui.jsx";

/** Attributes as people write them: "country=US plan=pro", with quotes around spaces. */
function attributesOf(text) {
  return [...text.matchAll(/([^\s=]+)=("[^"]*"|\S*)/g)].map(([, name, value]) => [name, value.replace(/^"|"$/g, "")]);
}

function ruleWords(rule) {
  if (rule.kind !== "condition") return { all: "All of:", any: "One of:", not: "Not:" }[rule.kind] ?? rule.kind;
  const wanted = rule.values ? rule.values.join(", ") : rule.value === undefined ? "" : JSON.stringify(rule.value);
  return `${rule.attribute} ${rule.op.replace(/_/g, " ")} ${wanted} (given: ${rule.given === null ? "nothing" : JSON.stringify(rule.given)})`;
}

/** The questions in their order; outcome null: not asked. */
function stepsOf(told) {
  const { running, targeting, layer, traffic, split, stored, holdout } = told;
  const steps = [];
  if (holdout) steps.push(["Kept out by a holdout group?", holdout.outcome ?? null, `group ${holdout.name ?? ""}, point ${number(holdout.point)}`]);
  steps.push(["Is it running?", running.outcome, `status ${running.status}`]);
  steps.push(["Do the rules hold?", targeting?.outcome ?? true, targeting?.rules?.length ? <ul>{targeting.rules.map((rule) => <li key={rule.path}><span class={`outcome ${rule.outcome ? "yes" : "no"}`}>{rule.outcome ? "✓" : "✗"}</span> {ruleWords(rule)}</li>)}</ul> : "There are none: everyone is let in"]);
  if (layer) steps.push(["Is the user in its slice of the layer?", layer.outcome, `layer ${layer.name}: slice ${number(layer.slice[0])} to ${number(layer.slice[1])}, the user is at ${number(layer.point)}${layer.taken_by ? `; taken by ${layer.taken_by}` : ""}`]);
  if (traffic) steps.push(["Is the user in its traffic?", traffic.outcome, `the user is at ${number(traffic.point)}, let in below ${number(traffic.allocation ?? traffic.traffic_allocation)}`]);
  steps.push(["Which variant does the hash choose?", true, `${split.variants.find((variant) => variant.outcome)?.variant ?? "none"}: the user is at ${number(split.point)} of 1`]);
  steps.push(["Is there a record?", stored ? true : null, stored ? `${stored.variant} since ${moment(stored.assigned_at)}${stored.forced ? ", given by an import" : ""}: it wins over everything above` : "No: this user was never enrolled"]);
  return steps;
}

function Answer({ told }) {
  const variant = told.override?.variant ?? told.stored?.variant ?? told.new_user.variant;
  return (
    <Card title={`${told.user_id} in ${told.experiment_key}`}>
      <p class="answer">{variant ?? "no variant"}</p>
      <p class="why">{told.override ? "An override shows it to this tester, and counts nothing." : told.stored ? "The stored assignment decides, for ever." : told.new_user.why}</p>
      <ol class="steps">
        {stepsOf(told).map(([question, outcome, detail]) => (
          <li key={question}>
            <span class={`dot ${outcome === null ? "none" : outcome ? "yes" : "no"}`} aria-hidden="true">{outcome === null ? "–" : outcome ? "✓" : "✗"}</span>
            <div><strong>{question}</strong> <span class="sr">{outcome === null ? "no" : outcome ? "yes" : "no"}</span><div class="detail">{detail}</div></div>
          </li>
        ))}
      </ol>
    </Card>
  );
}

export function Explain() {
  const list = useResource(() => getAll("/experiments", "experiments"), "experiments");
  const [form, set] = useState({ experiment: "", user: "", attributes: "country=US version=2.1.0" });
  const [asked, ask] = useState(null);
  const told = useResource((signal) => (asked ? get(asked, { signal }) : null), asked ?? "nothing");
  const submit = (event) => {
    event.preventDefault();
    const query = new URLSearchParams(attributesOf(form.attributes)).toString();
    ask(`/experiments/${part(form.experiment || list.data[0].key)}/explain/${part(form.user)}${query ? `?${query}` : ""}`);
  };
  return (
    <>
      <header class="page-head"><h1>Explain a user</h1><p>Why somebody gets what they get, question by question. Asking enrols nobody.</p></header>
      <Loaded of={list}>
        {(experiments) => (experiments.length === 0 ? <Empty title="No experiment yet">There is nothing to explain.</Empty> : (
          <Card>
            <form class="fields" onSubmit={submit}>
              <div class="fields two">
                <Field label="Experiment">{(attributes) => <select {...attributes} value={form.experiment || experiments[0].key} onChange={(event) => set({ ...form, experiment: event.target.value })}>{experiments.map((one) => <option key={one.key} value={one.key}>{one.name}</option>)}</select>}</Field>
                <Field label="User id">{(attributes) => <input {...attributes} required maxLength={255} placeholder="user-1" value={form.user} onInput={(event) => set({ ...form, user: event.target.value })} />}</Field>
              </div>
              <Field label="Attributes" hint="As name=value, with spaces between">{(attributes) => <input {...attributes} class="code" value={form.attributes} onInput={(event) => set({ ...form, attributes: event.target.value })} />}</Field>
              <div><button class="button primary">Explain</button></div>
            </form>
          </Card>
        ))}
      </Loaded>
      {asked && <Loaded of={told}>{(answer) => answer && <Answer told={answer} />}</Loaded>}
    </>
  );
}
