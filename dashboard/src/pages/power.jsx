import { useState } from "preact/hooks";
import { get } from "../api.js";
import { integer, percent } from "../format.js";
import { useResource } from "../live.js";
import { Card, Choice, Field, Loaded, Tile } from "../ui.jsx";

const start = { baseline: "5", mde: "10", power: "80", alpha: "5", variants: "2", users_per_day: "1000", std_dev: "20" };
const share = (text) => Number(text) / 100;

function queryOf(kind, values) {
  const query = { baseline: kind === "share" ? share(values.baseline) : Number(values.baseline), mde: share(values.mde), power: share(values.power), alpha: share(values.alpha), variants: values.variants };
  if (values.users_per_day) query.users_per_day = values.users_per_day;
  if (kind === "mean") query.std_dev = values.std_dev;
  return new URLSearchParams(query).toString();
}

/* name, label, hint, unit: of a share of users */
const fields = [
  ["baseline", "Value in control", "What control has today"],
  ["mde", "Lift worth finding, %", "Relative: 10 means from 5% to 5.5%"],
  ["power", "Chance to find it, %", "80 is usual"],
  ["alpha", "Chance of false alarm, %", "5 is usual"],
  ["variants", "Variants, with control", "More than two share the chance of a false alarm"],
  ["users_per_day", "New users a day", "Over all variants"],
];

export function Power() {
  const [kind, setKind] = useState("share");
  const [values, set] = useState(start);
  const query = queryOf(kind, values);
  const answer = useResource((signal) => get(`/power?${query}`, { signal }), query);
  const shown = kind === "mean" ? [...fields.slice(0, 1), ["std_dev", "Standard deviation of one user", "See a past result"], ...fields.slice(1)] : fields;
  return (
    <>
      <header class="page-head"><h1>How many users?</h1><p>Before you start: how long until a lift that matters would show.</p></header>
      <div class="grid">
        <Card title="The plan" actions={<Choice label="Kind of metric" options={[["share", "Share of users"], ["mean", "Mean a user"]]} value={kind} onChange={setKind} />}>
          <div class="fields two">
            {shown.map(([name, label, hint]) => (
              <Field key={name} label={name === "baseline" && kind === "share" ? `${label}, %` : label} hint={hint}>
                {(attributes) => <input {...attributes} type="number" step="any" min="0" value={values[name]} onInput={(event) => set({ ...values, [name]: event.target.value })} />}
              </Field>
            ))}
          </div>
        </Card>
        <Card title="What it takes">
          <Loaded of={answer}>
            {(need) => (
              <>
                <p class="answer">{integer(need.sample_size_per_variant)}</p>
                <p><small>users in each variant</small></p>
                <dl class="tiles power-tiles">
                  <Tile label="In all" tip="Users over all variants" value={integer(need.total_sample_size)} />
                  <Tile label="Days" tip="At so many new users a day" value={integer(need.days)} note={need.days > 60 ? "long: look for a larger lift or more traffic" : ""} />
                </dl>
                <p><small>With these, a true lift of {percent(need.mde)} is found in {percent(need.power, 0)} of experiments, and a lift that is not there in {percent(need.alpha, 0)}. For one planned look at the end: a verdict that may be looked at any time needs some more.</small></p>
              </>
            )}
          </Loaded>
        </Card>
      </div>
    </>
  );
}
