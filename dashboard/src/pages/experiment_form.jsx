import { useRef, useState } from "preact/hooks";
import { get, getAll, part, patch, post } from "../api.js";
import { percent } from "../format.js";
import { useLive, useResource } from "../live.js";
import { variantStyles } from "../palette.js";
import { operatorWord, ruleDocument, ruleForm, takesNothing, targetingOperators, valueOf } from "../rules.js";
import { Card, Fault, Field, Loaded, useAction } from "../ui.jsx";
import { word } from "../verdict.js";
import { Split } from "./experiments.jsx";

/* Weights are kept in ten-thousandths, so that their sum is exactly one. */
const WHOLE = 10000;

/** Shares `total` by `parts`, in whole numbers that add up to it. */
export function share(total, parts) {
  const sum = parts.reduce((left, right) => left + right, 0);
  const exact = parts.map((one) => (sum > 0 ? (total * one) / sum : total / parts.length));
  const floor = exact.map(Math.floor);
  const order = exact.map((one, at) => [one - floor[at], at]).sort((left, right) => right[0] - left[0]);
  for (let left = total - floor.reduce((one, other) => one + other, 0), at = 0; left > 0; left--, at++) floor[order[at][1]]++;
  return floor;
}

/** One weight changes, the others make room in their proportions. */
export function reweigh(variants, at, weight) {
  const kept = Math.max(0, Math.min(WHOLE, Math.round(weight)));
  const others = variants.filter((_, index) => index !== at);
  const shared = share(WHOLE - kept, others.map((one) => one.weight));
  let next = 0;
  return variants.map((one, index) => ({ ...one, weight: index === at ? kept : shared[next++] }));
}

const equal = (variants) => share(WHOLE, variants.map(() => 1)).map((weight, at) => ({ ...variants[at], weight }));

const fresh = {
  name: "", key: "", description: "", metrics: ["conversion_rate", "revenue"], countries: "", min_version: "", rules: [], traffic: "100", layer: "",
  holdout: "", holdoutShare: "5", start_at: "", end_at: "",
  variants: [{ name: "control", weight: 5000, is_control: true, value: "" }, { name: "treatment", weight: 5000, is_control: false, value: "" }],
};

function formOf(experiment) {
  const weights = share(WHOLE, experiment.variants.map((variant) => variant.weight));
  return {
    ...fresh, name: experiment.name, key: experiment.key, description: experiment.description, metrics: experiment.metrics,
    countries: experiment.targeting?.countries?.join(", ") ?? "", min_version: experiment.targeting?.min_version ?? "",
    rules: experiment.targeting?.rules?.map(ruleForm) ?? [], traffic: String(experiment.traffic_allocation * 100), layer: experiment.layer ?? "",
    holdout: experiment.holdout?.name ?? "", holdoutShare: String((experiment.holdout?.share ?? 0.05) * 100),
    start_at: experiment.start_at?.slice(0, 16) ?? "", end_at: experiment.end_at?.slice(0, 16) ?? "",
    variants: experiment.variants.map((one, at) => ({ name: one.name, weight: weights[at], is_control: one.is_control, value: one.value === null ? "" : JSON.stringify(one.value) })),
  };
}

function targetingOf(form) {
  const targeting = {};
  const countries = form.countries.split(/[\s,]+/).filter(Boolean).map((one) => one.toUpperCase());
  if (countries.length > 0) targeting.countries = countries;
  if (form.min_version) targeting.min_version = form.min_version;
  if (form.rules.length > 0) targeting.rules = form.rules.map(ruleDocument);
  return Object.keys(targeting).length > 0 ? targeting : null;
}

/** A value is JSON; what is none is text. */
function jsonOf(text) {
  if (text.trim() === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function documentOf(form) {
  return {
    name: form.name, description: form.description, metrics: form.metrics, targeting: targetingOf(form),
    traffic_allocation: Number(form.traffic) / 100, layer: form.layer || null,
    holdout: form.holdout ? { name: form.holdout, share: Number(form.holdoutShare) / 100 } : null,
    start_at: form.start_at ? `${form.start_at}:00Z` : null, end_at: form.end_at ? `${form.end_at}:00Z` : null,
    variants: form.variants.map((one) => ({ name: one.name, weight: one.weight / WHOLE, is_control: one.is_control, value: jsonOf(one.value) })),
  };
}

/** Only what was changed, so that nothing else is touched. */
function changesOf(form, before) {
  const [now, old] = [documentOf(form), documentOf(before)];
  return Object.fromEntries(Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(old[name])));
}

function Variants({ variants, onChange, isFixed, fault }) {
  const styles = variantStyles(variants.map((one, at) => ({ ...one, name: String(at) })));
  const put = (at, fields) => onChange(variants.map((one, index) => (index === at ? { ...one, ...fields } : one)));
  const add = () => onChange(equal([...variants, { name: `variant_${variants.length}`, weight: 0, is_control: false, value: "", isNew: true }]));
  const drop = (at) => {
    const left = variants.filter((_, index) => index !== at);
    const weights = share(WHOLE, left.map((one) => one.weight));
    onChange(left.map((one, index) => ({ ...one, weight: weights[index], is_control: variants[at].is_control ? index === 0 : one.is_control })));
  };
  return (
    <Card title="Variants" tip="The weights always add up to one: when one changes, the others make room in proportion" actions={<><button type="button" class="button small" onClick={() => onChange(equal(variants))}>Equal weights</button><button type="button" class="button small" onClick={add}>Add a variant</button></>}>
      <div class="big-split"><Split variants={variants.map((one, at) => ({ ...one, name: String(at), weight: one.weight / WHOLE }))} styles={styles} /></div>
      <div class="variant-row head" aria-hidden="true"><span data-tip="What the others are compared with">Ctl</span><span>Name</span><span>Share of users</span><span>Weight, %</span><span>Value (JSON)</span><span /></div>
      {variants.map((variant, at) => (
        <div class="variant-row" key={at}>
          <input type="radio" name="control" aria-label={`${variant.name} is control`} checked={variant.is_control} disabled={isFixed} onChange={() => onChange(variants.map((one, index) => ({ ...one, is_control: index === at })))} />
          <input aria-label={`Name of variant ${at + 1}`} required maxLength={200} value={variant.name} disabled={isFixed && !variant.isNew} onInput={(event) => put(at, { name: event.target.value })} />
          <input class="range" type="range" min="0" max={WHOLE} step="100" aria-label={`Share of ${variant.name}`} value={variant.weight} style={{ accentColor: styles.get(String(at)).colour }} onInput={(event) => onChange(reweigh(variants, at, Number(event.target.value)))} />
          <input type="number" min="0" max="100" step="0.01" aria-label={`Weight of ${variant.name} in percent`} value={variant.weight / 100} onChange={(event) => onChange(reweigh(variants, at, Number(event.target.value) * 100))} />
          <input class="code json" aria-label={`Value of ${variant.name}`} placeholder='{"color": "blue"}' value={variant.value} onInput={(event) => put(at, { value: event.target.value })} />
          <button type="button" class="icon" aria-label={`Remove ${variant.name}`} disabled={variants.length < 3 || (isFixed && !variant.isNew)} onClick={() => drop(at)}>✕</button>
        </div>
      ))}
      <small>Sum: <b>{percent(variants.reduce((sum, one) => sum + one.weight, 0) / WHOLE)}</b>{isFixed && ". Users are in already: close a variant with weight 0 in place of removing it"}</small>
      {fault && <small class="error"> {fault}</small>}
    </Card>
  );
}

const groupWords = [["all", "All of these hold"], ["any", "One of these holds"], ["not", "This does not hold"]];
const blank = () => ({ attribute: "", op: "eq", text: "" });

function Rule({ rule, label, onChange, onRemove }) {
  if (rule.kind) {
    return (
      <div class="group-box" role="group" aria-label={label}>
        <header>
          <select aria-label={`${label}: how its parts combine`} value={rule.kind} onChange={(event) => onChange({ ...rule, kind: event.target.value })}>{groupWords.map(([kind, text]) => <option key={kind} value={kind}>{text}</option>)}</select>
          <button type="button" class="icon" aria-label={`Remove ${label}`} onClick={onRemove}>✕</button>
        </header>
        <Rules rules={rule.items} label={label} onChange={(items) => onChange({ ...rule, items })} />
      </div>
    );
  }
  return (
    <div class="rule">
      <input aria-label={`${label}: attribute`} placeholder="plan" required value={rule.attribute} onInput={(event) => onChange({ ...rule, attribute: event.target.value })} />
      <select aria-label={`${label}: comparison`} value={rule.op} onChange={(event) => onChange({ ...rule, op: event.target.value })}>{targetingOperators.map((op) => <option key={op} value={op}>{operatorWord(op)}</option>)}</select>
      {takesNothing(rule.op) ? <span class="rule-value" /> : <input class="rule-value" aria-label={`${label}: value`} placeholder={rule.op.endsWith("in") ? "pro, team" : "pro"} value={rule.text} onInput={(event) => onChange({ ...rule, text: event.target.value })} />}
      <button type="button" class="icon" aria-label={`Remove ${label}`} onClick={onRemove}>✕</button>
    </div>
  );
}

function Rules({ rules, label, onChange }) {
  return (
    <>
      {rules.map((rule, at) => (
        <Rule key={at} rule={rule} label={`${label} ${at + 1}`} onChange={(changed) => onChange(rules.map((one, index) => (index === at ? changed : one)))} onRemove={() => onChange(rules.filter((_, index) => index !== at))} />
      ))}
      <div class="actions">
        <button type="button" class="button small" onClick={() => onChange([...rules, blank()])}>Add a rule</button>
        <button type="button" class="button small" onClick={() => onChange([...rules, { kind: "any", items: [blank(), blank()] }])}>Add a group</button>
      </div>
    </>
  );
}

/** The slices that a layer's experiments have, as explain tells them. */
async function slicesOf(layer, signal) {
  const all = (await getAll(`/experiments?layer=${part(layer)}`, "experiments")).filter((one) => one.status !== "completed");
  return Promise.all(all.map(async (one) => ({ key: one.key, slice: (await get(`/experiments/${part(one.id)}/explain/nobody`, { signal })).layer?.slice })));
}

function LayerMap({ layer, own }) {
  const live = useLive();
  const found = useResource((signal) => slicesOf(layer, signal), `layer ${layer}`, live.definitions);
  return (
    <Loaded of={found}>
      {(slices) => (
        <div>
          <div class="layer-map" role="img" aria-label={`Slices of the layer ${layer}: ${slices.filter((one) => one.slice).map((one) => `${one.key} ${percent(one.slice[0])} to ${percent(one.slice[1])}`).join(", ") || "none"}`}>
            {slices.filter((one) => one.slice).map((one) => (
              <i key={one.key} class={one.key === own ? "mine" : ""} data-tip={`${one.key}: ${percent(one.slice[0])} to ${percent(one.slice[1])}`} style={{ left: `${one.slice[0] * 100}%`, width: `${(one.slice[1] - one.slice[0]) * 100}%` }}>{one.key}</i>
            ))}
          </div>
          <small>Hatched space is free. A new experiment takes the first free slice of its size.</small>
        </div>
      )}
    </Loaded>
  );
}

const people = "ann country=US version=2.1.0 plan=pro\nben country=CA version=1.9.0 plan=free\nchloe country=DE version=2.4.0 plan=team";

function usersOf(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const [user, ...pairs] = line.split(/\s+/);
    return { user_id: user, attributes: Object.fromEntries(pairs.map((pair) => [pair.split("=")[0], valueOf(pair.split("=").slice(1).join("="))])) };
  });
}

/** Who would match: the saved definition tried on made-up users, as if it were running. */
function Preview({ experiment, isChanged }) {
  const [text, set] = useState(people);
  const told = useResource((signal) => (experiment ? post(`/experiments/${part(experiment.id)}/evaluate`, { users: usersOf(text) }, { signal }) : null), `${experiment?.version} ${text}`);
  return (
    <Card title="Who would match" tip="The saved rules, tried on these users as if the experiment were running. Nobody is enrolled">
      {experiment === undefined ? <p><small>Save it as a draft first: then its rules can be tried on users here before anybody is enrolled.</small></p> : (
        <>
          <Field label="Users, one a line" hint="An id, then attributes as name=value">{(attributes) => <textarea {...attributes} class="code" rows={4} value={text} onInput={(event) => set(event.target.value)} />}</Field>
          {isChanged && <p><small class="unsaved">Your changes are not in this yet: save them first.</small></p>}
          <Loaded of={told}>
            {(answer) => (
              <ul class="matches" aria-live="polite">
                {answer.evaluations.map((one, at) => (
                  <li key={at}>
                    <span class={`outcome ${one.variant ? "yes" : "no"}`}>{one.variant ? "✓" : "✗"} {one.user_id}</span>
                    <strong>{one.variant ?? word(one.reason)}</strong> <small>{one.why}</small>
                  </li>
                ))}
              </ul>
            )}
          </Loaded>
        </>
      )}
    </Card>
  );
}

function Editor({ experiment, metrics }) {
  const before = useRef(experiment ? formOf(experiment) : fresh).current;
  const [form, set] = useState(before);
  const action = useAction();
  const put = (name) => (event) => set({ ...form, [name]: event.target.value });
  const faultOf = (path) => action.error?.errors?.find((one) => one.path.startsWith(path))?.message;
  const isFixed = experiment !== undefined && experiment.status !== "draft";
  const isChanged = JSON.stringify(form) !== JSON.stringify(before);
  const save = async (event) => {
    event.preventDefault();
    const status = event.submitter?.value;
    const made = await action.run(() => (experiment
      ? patch(`/experiments/${part(experiment.id)}`, changesOf(form, before), { headers: { "If-Match": `"${experiment.version}"` } })
      : post("/experiments", { ...documentOf(form), ...(form.key ? { key: form.key } : {}), status })));
    if (made) location.hash = !experiment && status === "draft" ? `#/experiments/${part(made.key)}/edit` : `#/experiments/${part(made.key)}`;
  };
  const text = (name, label, more = {}) => (
    <Field label={label} hint={more.hint} tip={more.tip} error={faultOf(more.path ?? name)}>{(attributes) => <input {...attributes} {...more.input} value={form[name]} onInput={put(name)} />}</Field>
  );
  const choose = (name, isChosen) => set({ ...form, metrics: isChosen ? [...form.metrics, name] : form.metrics.filter((one) => one !== name) });
  const first = (name) => set({ ...form, metrics: [name, ...form.metrics.filter((one) => one !== name)] });
  return (
    <form onSubmit={save}>
      <Fault error={action.error} />
      <Card title="What it is">
        <div class="fields">
          <div class="fields two">
            {text("name", "Name", { input: { required: true, maxLength: 200, placeholder: "Homepage CTA", autoFocus: !experiment } })}
            {text("key", "Key", { hint: experiment ? "Fixed for ever" : "For programs. Empty: made of the name", input: { disabled: experiment !== undefined, placeholder: "homepage-cta", maxLength: 100 } })}
          </div>
          <Field label="Description" error={faultOf("description")}>{(attributes) => <textarea {...attributes} rows={2} maxLength={4096} placeholder="What do you change, and what do you expect?" value={form.description} onInput={put("description")} />}</Field>
          <fieldset class="plain">
            <legend data-tip="The first one gives the verdict">Metrics</legend>
            <div class="picks">
              {metrics.map((name) => (
                <label key={name} class="pick"><input type="checkbox" checked={form.metrics.includes(name)} onChange={(event) => choose(name, event.target.checked)} />{word(name)}</label>
              ))}
            </div>
          </fieldset>
          {form.metrics.length > 1 && (
            <Field label="The verdict comes from" class="narrow">{(attributes) => <select {...attributes} value={form.metrics[0]} onChange={(event) => first(event.target.value)}>{form.metrics.map((name) => <option key={name} value={name}>{word(name)}</option>)}</select>}</Field>
          )}
        </div>
      </Card>
      <Variants variants={form.variants} isFixed={isFixed} fault={faultOf("variants")} onChange={(variants) => set({ ...form, variants })} />
      <div class="grid">
        <Card title="Who gets in" tip="All of these must hold for a new user. Whoever is in stays in">
          <div class="fields">
            <div class="fields two">
              {text("countries", "Countries", { hint: "Two letters each; empty: all", path: "targeting.countries", input: { placeholder: "US, CA" } })}
              {text("min_version", "Version, at least", { hint: "Empty: all", path: "targeting.min_version", input: { placeholder: "2.0.0" } })}
            </div>
            <fieldset class="plain"><legend>Rules on attributes</legend><Rules rules={form.rules} label="Rule" onChange={(rules) => set({ ...form, rules })} /></fieldset>
          </div>
        </Card>
        <Preview experiment={experiment} isChanged={isChanged} />
      </div>
      <Card title="How many, and when">
        <div class="fields">
          <div class="fields three">
            {text("traffic", "Traffic, %", { hint: "Of those who match; in a layer, the slice's size", path: "traffic_allocation", input: { type: "number", min: 0, max: 100, step: "any" } })}
            {text("layer", "Layer", { hint: "Experiments of one layer never share a user", input: { disabled: isFixed, placeholder: "checkout", maxLength: 100 } })}
            <div class="fields two">
              {text("holdout", "Holdout group", { input: { placeholder: "q4" } })}
              {text("holdoutShare", "Kept out, %", { path: "holdout.share", input: { type: "number", min: 0, max: 100, step: "any" } })}
            </div>
          </div>
          {form.layer && <LayerMap layer={form.layer} own={experiment?.key} />}
          <div class="fields two">
            {text("start_at", "Enrol from (UTC)", { input: { type: "datetime-local" } })}
            {text("end_at", "Enrol until (UTC)", { input: { type: "datetime-local" } })}
          </div>
        </div>
      </Card>
      <div class="form-foot">
        {experiment ? <button class="button primary" disabled={action.busy || !isChanged}>Save</button> : (
          <>
            <button class="button primary" value="running" disabled={action.busy}>Start it now</button>
            <button class="button" value="draft" disabled={action.busy}>Save as draft</button>
          </>
        )}
        <a class="button" href={experiment ? `#/experiments/${part(experiment.key)}` : "#/experiments"}>Cancel</a>
      </div>
    </form>
  );
}

export function ExperimentForm({ id }) {
  const found = useResource(async (signal) => {
    const [experiment, metrics] = await Promise.all([id ? get(`/experiments/${part(id)}`, { signal }) : undefined, getAll("/metric-definitions", "metric_definitions")]);
    return { experiment, metrics: metrics.map((one) => one.name) };
  }, id ?? "new");
  return (
    <>
      <header class="page-head"><div><a class="crumb" href={id ? `#/experiments/${part(id)}` : "#/experiments"}>{id ? "Experiment" : "Experiments"}</a><h1>{id ? "Edit experiment" : "New experiment"}</h1></div></header>
      <Loaded of={found}>{({ experiment, metrics }) => <Editor experiment={experiment} metrics={metrics} />}</Loaded>
    </>
  );
}
