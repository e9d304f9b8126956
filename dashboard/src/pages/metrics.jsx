import { useState } from "preact/hooks";
import { get, getAll, part, patch, post, remove } from "../api.js";
import { useLive, useResource } from "../live.js";
import { conditionDocument, metricOperators, operatorWord, takesNothing, valueText } from "../rules.js";
import { Card, Confirm, Fault, Field, Loaded, useAction } from "../ui.jsx";
import { word } from "../verdict.js";

const kinds = [
  ["proportion", "Share of users with the event"],
  ["mean", "A total a user, averaged"],
  ["ratio", "One mean over another"],
  ["retention", "Share of users who came back"],
  ["quantile", "A quantile of the events' values"],
];

const aggregations = [["sum", "Sum of a property"], ["max", "Largest value of a property"], ["count", "Number of events"], ["unique_days", "Days with an event"]];
const takesProperty = (form) => form.type === "quantile" || (form.type === "mean" && ["sum", "max"].includes(form.aggregation));

/** What a metric measures, as a sentence. */
function meaning(metric) {
  const filters = (metric.filters ?? []).map((one) => `${one.property} ${operatorWord(one.op)} ${one.values ? one.values.join(", ") : JSON.stringify(one.value ?? "")}`);
  const where = filters.length > 0 ? ` where ${filters.join(" and ")}` : "";
  const within = metric.window_hours ? `, within ${metric.window_hours} hours of the assignment` : "";
  const cap = metric.cap ? `, at most ${metric.cap.percentile ? `the ${100 * metric.cap.percentile} % point` : metric.cap.upper} a user` : "";
  if (metric.type === "proportion") return `share of users with ${metric.event_type}${where}${within}`;
  if (metric.type === "retention") return `share of users with ${metric.event_type}${where} ${metric.from_day ?? 0} to ${metric.to_day || "…"} days later`;
  if (metric.type === "quantile") return `${100 * (metric.quantile || 0.5)} % point of ${metric.property || "…"} of ${metric.event_type}${where}${within}`;
  if (metric.type === "ratio") return `${metric.numerator} over ${metric.denominator}`;
  const what = { sum: `sum of ${metric.property} of`, max: `largest ${metric.property} of`, count: "number of", unique_days: "days with" }[metric.aggregation];
  return `${what} ${metric.event_type} a user${where}${within}${cap}`;
}

export function Metrics() {
  const live = useLive();
  const list = useResource(() => getAll("/metric-definitions?archived=true", "metric_definitions"), "metrics", live.definitions);
  return (
    <>
      <header class="page-head"><h1>Metrics</h1><a class="button primary" href="#/metrics/new">New metric</a></header>
      <Card>
        <Loaded of={list}>
          {(metrics) => (
            <div class="table" tabIndex={0} role="region" aria-label="Metrics">
              <table>
                <thead><tr><th scope="col">Metric</th><th scope="col">Measures</th><th scope="col">Better</th><th scope="col">Version</th></tr></thead>
                <tbody>
                  {metrics.map((metric) => (
                    <tr key={metric.id}>
                      <th scope="row"><a href={`#/metrics/${part(metric.name)}`}>{word(metric.name)}</a>{metric.archived && <span class="badge">archived</span>}<small>{metric.type}</small></th>
                      <td>{meaning(metric)}{metric.description && <small>{metric.description}</small>}</td>
                      <td>{metric.direction === "decrease" ? "↓ less" : "↑ more"}</td>
                      <td>{metric.version}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </Loaded>
      </Card>
    </>
  );
}

const fresh = { name: "", description: "", type: "proportion", event_type: "", property: "", aggregation: "sum", numerator: "", denominator: "", direction: "increase", cap: "", from_day: "1", to_day: "7", quantile: "0.5", window_hours: "", guardrail_margin: "", filters: [] };

const capText = (cap) => (!cap ? "" : cap.percentile ? `${100 * cap.percentile}%` : String(cap.upper));
/** "500", or "99%" for a percentile of all variants' totals. */
const capDocument = (text) => (text === "" ? null : text.endsWith("%") ? { percentile: Number(text.slice(0, -1)) / 100 } : { upper: Number(text) });
const orNull = (text) => (text === "" ? null : Number(text));

function formOf(metric) {
  const filters = metric.filters.map((one) => ({ property: one.property, op: one.op, text: valueText(one) }));
  return { ...fresh, ...Object.fromEntries(Object.entries(metric).filter(([, value]) => value !== null)), cap: capText(metric.cap), filters };
}

function documentOf(form, isNew) {
  const made = { description: form.description, type: form.type, direction: form.direction, guardrail_margin: orNull(String(form.guardrail_margin)) };
  if (isNew) made.name = form.name;
  if (form.type === "ratio") return { ...made, numerator: form.numerator, denominator: form.denominator };
  made.event_type = form.event_type;
  made.filters = form.filters.map((one) => conditionDocument("property", one));
  const isRetention = form.type === "retention";
  made.property = takesProperty(form) ? form.property : null;
  made.cap = form.type === "mean" ? capDocument(form.cap) : null;
  made.aggregation = form.type === "mean" ? form.aggregation : null;
  made.window_hours = isRetention ? null : orNull(String(form.window_hours));
  made.from_day = isRetention ? orNull(String(form.from_day)) : null;
  made.to_day = isRetention ? orNull(String(form.to_day)) : null;
  made.quantile = form.type === "quantile" ? orNull(String(form.quantile)) : null;
  return made;
}

function Filters({ filters, onChange }) {
  const put = (at, fields) => onChange(filters.map((one, index) => (index === at ? { ...one, ...fields } : one)));
  return (
    <fieldset class="plain">
      <legend>Only events where</legend>
      {filters.map((filter, at) => (
        <div class="rule" key={at}>
          <input aria-label={`Property of filter ${at + 1}`} placeholder="currency" value={filter.property} onInput={(event) => put(at, { property: event.target.value })} />
          <select aria-label={`Comparison of filter ${at + 1}`} value={filter.op} onChange={(event) => put(at, { op: event.target.value })}>{metricOperators.map((op) => <option key={op} value={op}>{operatorWord(op)}</option>)}</select>
          {takesNothing(filter.op) ? <span class="rule-value" /> : <input class="rule-value" aria-label={`Value of filter ${at + 1}`} placeholder="EUR" value={filter.text} onInput={(event) => put(at, { text: event.target.value })} />}
          <button type="button" class="icon" aria-label={`Remove filter ${at + 1}`} onClick={() => onChange(filters.filter((_, index) => index !== at))}>✕</button>
        </div>
      ))}
      <button type="button" class="button small" onClick={() => onChange([...filters, { property: "", op: "eq", text: "" }])}>Add a filter</button>
    </fieldset>
  );
}

function Editor({ metric, means }) {
  const [form, set] = useState(metric ? formOf(metric) : fresh);
  const [asked, ask] = useState(false);
  const action = useAction();
  const put = (name) => (event) => set({ ...form, [name]: event.target.value });
  const faultOf = (path) => action.error?.errors?.find((one) => one.path === path)?.message;
  const save = async (event) => {
    event.preventDefault();
    const made = await action.run(() => (metric ? patch(`/metric-definitions/${part(metric.name)}`, documentOf(form, false)) : post("/metric-definitions", documentOf(form, true))));
    if (made) location.hash = "#/metrics";
  };
  const archive = () => action.run(async () => {
    await (metric.archived ? patch(`/metric-definitions/${part(metric.name)}`, { archived: false }) : remove(`/metric-definitions/${part(metric.name)}`));
    location.hash = "#/metrics";
  });
  const text = (name, label, more = {}) => (
    <Field label={label} hint={more.hint} error={faultOf(name)}>{(attributes) => <input {...attributes} {...more.input} value={form[name]} onInput={put(name)} />}</Field>
  );
  const choose = (name, label, options) => (
    <Field label={label} error={faultOf(name)}>{(attributes) => <select {...attributes} value={form[name]} onChange={put(name)}>{options.map(([key, words]) => <option key={key} value={key}>{words}</option>)}</select>}</Field>
  );
  const parts = [["", "choose a mean"], ...means.map((name) => [name, word(name)])];
  return (
    <form onSubmit={save}>
      <Fault error={action.error} />
      <Card title="What it measures">
        <div class="fields">
          <div class="fields two">
            {metric ? <Field label="Name" hint="Fixed for ever">{(attributes) => <input {...attributes} value={form.name} disabled />}</Field> : text("name", "Name", { hint: "Lower-case letters, digits and _", input: { required: true, placeholder: "revenue_eur", pattern: "[a-z][a-z0-9_]*" } })}
            {choose("type", "Kind", kinds)}
          </div>
          {form.type === "ratio" && <div class="fields two">{choose("numerator", "Of", parts)}{choose("denominator", "Over", parts)}</div>}
          {form.type !== "ratio" && <div class="fields two">{text("event_type", "Event type", { input: { required: true, placeholder: "purchase" } })}{choose("direction", "Better is", [["increase", "more"], ["decrease", "less"]])}</div>}
          {form.type === "mean" && (
            <div class="fields three">
              {choose("aggregation", "Of a user", aggregations)}
              {takesProperty(form) && text("property", "Property", { input: { required: true, placeholder: "amount" } })}
              {text("cap", "At most, a user", { hint: "A value, or such as 99% of all users' totals", input: { pattern: "[0-9.]+%?", placeholder: "no bound" } })}
            </div>
          )}
          {form.type === "quantile" && (
            <div class="fields two">
              {text("property", "Property", { input: { required: true, placeholder: "duration_ms" } })}
              {text("quantile", "Quantile", { hint: "0.5 is the median", input: { type: "number", step: "any", min: 0, max: 1, required: true } })}
            </div>
          )}
          {form.type === "retention" && (
            <div class="fields two">
              {text("from_day", "From day", { hint: "Counted from the day of the assignment, which is 0", input: { type: "number", min: 0, max: 365, required: true } })}
              {text("to_day", "To day", { input: { type: "number", min: 1, max: 365, required: true } })}
            </div>
          )}
          <div class="fields two">
            {form.type !== "ratio" && form.type !== "retention" && text("window_hours", "Only so many hours after the assignment", { hint: "Empty: without end", input: { type: "number", min: 1, max: 8760 } })}
            {text("guardrail_margin", "Guardrail: may be worse by", { hint: "A share of the control's value, such as 0.02; empty: no guardrail", input: { type: "number", step: "any", min: 0, max: 0.99 } })}
          </div>
          {text("description", "Description")}
          {form.type !== "ratio" && <Filters filters={form.filters} onChange={(filters) => set({ ...form, filters })} />}
          <p class="meaning">Measures: <strong>{meaning(documentOf({ ...form, event_type: form.event_type || "…" }, true))}</strong></p>
        </div>
      </Card>
      <div class="form-foot">
        <button class="button primary" disabled={action.busy}>{metric ? "Save" : "Define the metric"}</button>
        <a class="button" href="#/metrics">Cancel</a>
        {metric && <button type="button" class="button danger" onClick={() => (metric.archived ? archive() : ask(true))}>{metric.archived ? "Bring back" : "Archive"}</button>}
      </div>
      {asked && <Confirm title={`Archive ${word(metric.name)}?`} action="Archive" danger onDone={(yes) => { ask(false); if (yes) archive(); }}>Results show it as 0, with a warning, until it is brought back. Nothing is lost.</Confirm>}
    </form>
  );
}

export function MetricForm({ name }) {
  const found = useResource(async (signal) => {
    const [metric, all] = await Promise.all([name ? get(`/metric-definitions/${part(name)}`, { signal }) : null, getAll("/metric-definitions", "metric_definitions")]);
    return { metric, means: all.filter((one) => one.type === "mean").map((one) => one.name) };
  }, name ?? "new");
  return (
    <>
      <header class="page-head"><div><a class="crumb" href="#/metrics">Metrics</a><h1>{name ? word(name) : "New metric"}</h1></div></header>
      <Loaded of={found}>{({ metric, means }) => <Editor metric={metric} means={means} />}</Loaded>
    </>
  );
}
