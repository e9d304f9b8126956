import { useState } from "preact/hooks";
import { get, getAll, part, patch, remove } from "../api.js";
import { Forest, Mark } from "../forest.jsx";
import { ago, day, integer, moment, number, pValue, percent, range, short, signedPercent } from "../format.js";
import { useLive, useResource } from "../live.js";
import { variantStyles } from "../palette.js";
import { TimePlot } from "../plot.jsx";
import { Card, Choice, Confirm, Fault, Loaded, Status, Term, Tile, Value, toneSign, useAction } from "../ui.jsx";
import { control, treatments, verdict, word } from "../verdict.js";

/* What may be done in each status. */
const moves = {
  draft: [["running", "Start", "primary"]],
  running: [["paused", "Pause", ""], ["completed", "Complete", ""]],
  paused: [["running", "Resume", "primary"], ["completed", "Complete", ""]],
  completed: [["archived", "Archive", ""]],
  archived: [],
};
const questions = {
  completed: ["Complete this experiment?", "Nobody new is enrolled from now on, for good. Whoever is in keeps their variant, and events still count."],
  archived: ["Archive this experiment?", "It leaves the list. Nothing is erased, but it cannot be started again."],
};

function Controls({ experiment, onDone }) {
  const action = useAction();
  const [asked, ask] = useState(null);
  const go = (status) => action.run(async () => {
    const path = `/experiments/${part(experiment.id)}`;
    await (status === "archived" ? remove(path) : patch(path, { status }, { headers: { "If-Match": `"${experiment.version}"` } }));
    onDone();
  });
  return (
    <>
      <div class="actions">
        {moves[experiment.status].map(([status, text, kind]) => (
          <button key={status} type="button" class={`button ${kind}`} disabled={action.busy} onClick={() => (questions[status] ? ask(status) : go(status))}>{text}</button>
        ))}
        {experiment.status !== "archived" && <a class="button" href={`#/experiments/${part(experiment.key)}/edit`}>Edit</a>}
      </div>
      {asked && (
        <Confirm title={questions[asked][0]} action={asked === "completed" ? "Complete" : "Archive"} danger onDone={(yes) => { ask(null); if (yes) go(asked); }}>
          {questions[asked][1]}
        </Confirm>
      )}
      <Fault error={action.error} />
    </>
  );
}

const isShare = (types, metric) => ["proportion", "retention"].includes(types.get(metric)?.type);
const formatOf = (types, metric) => (isShare(types, metric) ? percent : number);

function Health({ srm }) {
  const tip = "Do the users split between the variants as the weights say? If not, something loses or doubles users, and no comparison can be trusted. Below p = 0.001 the verdict is withheld.";
  if (srm?.p_value === null || srm?.p_value === undefined) {
    return <Tile label="Sample ratio" tip={tip} value="–" note={srm?.state === "weights_changed" ? "weights changed: not judged" : "not enough users"} />;
  }
  return <Tile label="Sample ratio" tip={tip} tone={srm.ok ? "good" : "bad"} value={srm.ok ? "✓ Healthy" : "! Broken"} note={`p = ${pValue(srm.p_value)}`} />;
}

function Tiles({ results }) {
  const { summary } = results;
  const left = Object.entries(summary.events_excluded).map(([name, count]) => `${integer(count)} ${word(name)}`).join(", ");
  return (
    <dl class="tiles">
      <Tile label="Users" tip="Users who have a variant" value={integer(summary.total_users)} note={`in ${results.variants.length} variants`} />
      <Tile label="Days" tip="Days (UTC) from the start to the end or to today, both included" value={integer(summary.duration_days)} />
      <Tile label="Events counted" tip={`Events of these users that a metric takes. Left out: ${left}`} value={integer(summary.events_counted)} note={`${short(summary.events_excluded.filtered)} of no metric's concern`} />
      <Health srm={summary.srm} />
      <Tile label="As of" tip={`Every record of the log up to position ${integer(results.as_of.lsn)} is in these numbers`} value={results.as_of.time.slice(11, 19)} note={`UTC, record ${integer(results.as_of.lsn)}`} />
    </dl>
  );
}

/** Lift over control for each day, from the cumulative values of that day and their intervals (delta method). */
function liftLines(results, metric, styles) {
  const z = 1.959963984540054;
  const base = control(results);
  return treatments(results).map((variant) => {
    const style = styles.get(variant.name);
    const line = { label: variant.name, colour: style.colour, dash: style.dash, values: [], low: [], high: [] };
    variant.time_series.forEach((entry, at) => {
      const mine = entry.metrics[metric]?.cumulative;
      const theirs = base.time_series[at]?.metrics[metric]?.cumulative;
      const spread = (cell) => (cell.confidence_interval[1] - cell.confidence_interval[0]) / 2 / z;
      const known = mine?.value != null && theirs?.value > 0 && mine.confidence_interval?.[0] != null && theirs.confidence_interval?.[0] != null;
      const lift = known ? mine.value / theirs.value - 1 : null;
      const error = known ? Math.hypot(spread(mine) / theirs.value, (mine.value * spread(theirs)) / theirs.value ** 2) : null;
      line.values.push(lift);
      line.low.push(known ? lift - z * error : null);
      line.high.push(known ? lift + z * error : null);
    });
    const exact = variant.metrics[metric]?.vs_control?.relative;
    if (exact?.value != null && exact.confidence_interval?.[0] != null && line.values.length > 0) {
      const last = line.values.length - 1;
      [line.values[last], line.low[last], line.high[last]] = [exact.value, ...exact.confidence_interval];
    }
    return line;
  });
}

const dailyKinds = [["value", "Each day"], ["cumulative", "So far"], ["users", "New users"], ["count", "Events"]];

function dailyLines(results, metric, kind, styles) {
  return results.variants.map((variant) => {
    const { colour, dash } = styles.get(variant.name);
    const cells = variant.time_series.map((entry) => (kind === "users" ? { users: entry.users } : kind === "cumulative" ? entry.metrics[metric]?.cumulative : entry.metrics[metric]));
    const line = { label: variant.name, colour, dash, values: cells.map((cell) => (kind === "users" ? cell.users : kind === "count" ? cell?.count : cell?.value) ?? null) };
    if (kind !== "cumulative") return line;
    return { ...line, low: cells.map((cell) => cell?.confidence_interval?.[0] ?? null), high: cells.map((cell) => cell?.confidence_interval?.[1] ?? null) };
  });
}

function Series({ results, metrics, types, styles, name }) {
  const [metric, setMetric] = useState(metrics[0]);
  const [kind, setKind] = useState("cumulative");
  const days = results.variants[0].time_series?.map((entry) => entry.date) ?? [];
  if (days.length === 0) return null;
  const choose = metrics.length > 1 && <Choice label="Metric" options={metrics.map((one) => [one, word(one)])} value={metric} onChange={setMetric} />;
  return (
    <>
      <Card title="Lift over time" tip="The lift of everything up to each day, with its 95% interval: from the days' cumulative values by the delta method, the last day exact. It should settle as users come in." actions={choose}>
        <TimePlot name={`${name}-lift-over-time`} title={`Cumulative lift of ${word(metric)} over control`} days={days} lines={liftLines(results, metric, styles)} format={(value) => (value === 0 ? "0" : signedPercent(value, Math.abs(value) < 0.1 ? 1 : 0))} />
      </Card>
      <Card title="Day by day" tip="Of each variant: the day's value per user assigned so far; everything up to the day with its interval; users assigned on the day; users or events that counted on the day" actions={<><Choice label="What to show" options={dailyKinds} value={kind} onChange={setKind} />{choose}</>}>
        <TimePlot name={`${name}-daily-${kind}`} title={kind === "users" ? "New users" : `${word(metric)}, ${kind}`} days={days} lines={dailyLines(results, metric, kind, styles)} format={kind === "users" || kind === "count" ? integer : formatOf(types, metric)} />
      </Card>
    </>
  );
}

const Swatch = ({ style }) => <svg class="swatch" width="16" height="16" aria-hidden="true"><Mark mark={style.mark} x={8} y={8} size={5} colour={style.colour} /></svg>;

function Variants({ results, metrics, types, styles }) {
  const total = results.summary.total_users;
  return (
    <Card title="Variants">
      <div class="table" tabIndex={0} role="region" aria-label="Variants and their values">
        <table>
          <thead>
            <tr>
              <th scope="col">Variant</th>
              <th scope="col"><Term tip="The share of new users that gets this variant now">Weight</Term></th>
              <th scope="col"><Term tip="Users who have this variant, and their share of all">Users</Term></th>
              {metrics.map((metric) => <th scope="col" key={metric}><Term tip={`${types.get(metric)?.description || `Value of ${word(metric)}`}: per assigned user, with its own 95% interval`}>{word(metric)}</Term></th>)}
            </tr>
          </thead>
          <tbody>
            {results.variants.map((variant) => (
              <tr key={variant.id}>
                <th scope="row"><Swatch style={styles.get(variant.name)} />{variant.name}{variant.is_control && variant.name !== "control" && <small>control</small>}</th>
                <td>{percent(variant.weight)}</td>
                <td><Value tip="Users who have this variant">{integer(variant.users)}</Value><small>{percent(total ? variant.users / total : null)}</small></td>
                {metrics.map((metric) => {
                  const cell = variant.metrics[metric];
                  const format = formatOf(types, metric);
                  return (
                    <td key={metric}>
                      <Value tip={`${integer(cell?.count)} ${isShare(types, metric) ? "users with the event" : "events"} of ${integer(cell?.sample_size)} users`}>{format(cell?.value)}</Value>
                      <small>{range(cell?.confidence_interval, format)}</small>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

const columns = [
  ["Lift", "Variant over control, minus one", (one) => signedPercent(one.relative?.value), (one) => range(one.relative?.confidence_interval, signedPercent)],
  ["p, at any time", "p-value that holds however often you look, after the correction for many comparisons", (one) => pValue(one.sequential?.p_value_adjusted)],
  ["p, one look", "Welch's test for one planned look, after the correction; below: before it", (one) => pValue(one.p_value_adjusted), (one) => pValue(one.p_value)],
  ["Chance to win", "Bayesian: the probability that the lift is above zero", (one) => percent(one.bayesian?.chance_to_win)],
  ["Expected loss", "Bayesian: what shipping this variant would cost on average if it is worse", (one) => percent(one.bayesian?.expected_loss, 2)],
  ["Detectable", "The lift that this many users would show with a chance of 80%", (one) => percent(one.minimum_detectable_effect)],
];

function Numbers({ results, metrics, styles }) {
  const rows = metrics.flatMap((metric) => treatments(results).map((variant) => [metric, variant]));
  return (
    <Card title="All the numbers">
      <div class="table" tabIndex={0} role="region" aria-label="Comparisons with control">
        <table>
          <thead><tr><th scope="col">Metric</th><th scope="col">Variant</th>{columns.map(([name, tip]) => <th scope="col" key={name}><Term tip={tip}>{name}</Term></th>)}</tr></thead>
          <tbody>
            {rows.map(([metric, variant]) => (
              <tr key={metric + variant.id}>
                <td>{word(metric)}</td>
                <th scope="row"><Swatch style={styles.get(variant.name)} />{variant.name}</th>
                {columns.map(([name, tip, show, more]) => (
                  <td key={name}><Value tip={tip}>{show(variant.metrics[metric]?.vs_control ?? {})}</Value>{more && <small>{more(variant.metrics[metric]?.vs_control ?? {})}</small>}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** The same by the values of an attribute that users came with: a row a group, the first metric's lift with its interval. */
function Groups({ experiment, attributes, types }) {
  const live = useLive();
  const [attribute, setAttribute] = useState(attributes[0]);
  const [metric, setMetric] = useState(experiment.metrics[0]);
  const found = useResource(
    (signal) => get(`/experiments/${part(experiment.id)}/results?group_by=variant&breakdown=${part(attribute)}`, { signal }),
    `${experiment.id} ${experiment.version} ${attribute}`, live.lsn && Math.floor(Date.now() / 60000)); // once a minute: it walks all users
  const names = { other: "all others", not_given: "not given" };
  const chooseMetric = experiment.metrics.length > 1 &&
    <Choice label="Metric" options={experiment.metrics.map((one) => [one, word(one)])} value={metric} onChange={setMetric} />;
  return (
    <Card title="By group" tip="Users by what they came with when they were assigned. The more groups, the more differences by chance: p-values here count the groups."
      actions={<><Choice label="Attribute" options={attributes.slice(0, 6).map((one) => [one, word(one)])} value={attribute} onChange={setAttribute} />{chooseMetric}</>}>
      <Loaded of={found}>
        {(results) => (
          <div class="table" tabIndex={0} role="region" aria-label={`Results by ${attribute}`}>
            <table>
              <thead><tr><th scope="col">{word(attribute)}</th><th scope="col">Users</th><th scope="col">Variant</th><th scope="col">{word(metric)}</th><th scope="col">Lift</th><th scope="col"><Term tip={columns[1][1]}>p, at any time</Term></th></tr></thead>
              <tbody>
                {results.breakdown.values.flatMap((group) => treatments(group).map((variant) => {
                  const cell = variant.metrics[metric];
                  return (
                    <tr key={`${group.kind} ${group.value} ${variant.id}`}>
                      <th scope="row">{group.value ?? names[group.kind]}</th>
                      <td>{integer(group.summary.total_users)}</td>
                      <td>{variant.name}</td>
                      <td>{formatOf(types, metric)(cell?.value)}</td>
                      <td>{signedPercent(cell?.vs_control?.relative?.value)}<small>{range(cell?.vs_control?.relative?.confidence_interval, signedPercent)}</small></td>
                      <td>{pValue(cell?.vs_control?.sequential?.p_value_adjusted)}</td>
                    </tr>
                  );
                }))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
    </Card>
  );
}

const silent = new Set(["version", "updated_at", "created_at", "started_at", "ended_at", "id", "key"]);

function changes(version, older) {
  if (!older) return "made";
  const names = Object.keys(version).filter((name) => !silent.has(name) && JSON.stringify(version[name]) !== JSON.stringify(older[name]));
  if (names.length === 0) return "saved without a change";
  return names.map((name) => (name === "status" ? `status: ${older.status} → ${version.status}` : word(name))).join(", ");
}

function History({ experiment }) {
  const history = useResource(() => getAll(`/experiments/${part(experiment.id)}/history`, "versions"), `${experiment.id} ${experiment.version}`);
  return (
    <Card title="History" tip="Every version, newest first">
      <Loaded of={history}>
        {(versions) => (
          <ol class="history">
            {versions.map((entry, at) => (
              <li key={entry.version}>
                <b>v{entry.version}</b>
                <span>{changes(entry.experiment, versions[at + 1]?.experiment)}<br /><small>by token <code>{entry.changed_by?.slice(-6) ?? "assay"}</code></small></span>
                <small data-tip={moment(entry.changed_at)}>{ago(entry.changed_at)}</small>
              </li>
            ))}
          </ol>
        )}
      </Loaded>
    </Card>
  );
}

function ruleText(rule) {
  for (const join of ["all", "any"]) if (rule[join]) return `(${rule[join].map(ruleText).join(join === "all" ? " and " : " or ")})`;
  if (rule.not) return `not ${ruleText(rule.not)}`;
  return [rule.attribute, rule.op.replace(/_/g, " "), rule.values ? rule.values.join(", ") : rule.value === undefined ? "" : JSON.stringify(rule.value)].join(" ").trim();
}

export function targetingText(targeting) {
  if (!targeting) return "everyone";
  const parts = [];
  if (targeting.countries) parts.push(`country in ${targeting.countries.join(", ")}`);
  if (targeting.min_version) parts.push(`version ${targeting.min_version} or newer`);
  return [...parts, ...(targeting.rules ?? []).map(ruleText)].join(" and ") || "everyone";
}

function Setup({ experiment }) {
  const lines = [
    ["Who", targetingText(experiment.targeting)],
    ["Traffic", `${percent(experiment.traffic_allocation)}${experiment.layer ? ` of layer ${experiment.layer}` : " of them"}`],
    ...(experiment.ramp?.length > 0 ? [["Ramp", `${experiment.ramp.length} steps of traffic`]] : []),
    ["Holdout", experiment.holdout ? `${experiment.holdout.name}, ${percent(experiment.holdout.share)} kept out` : "none"],
    ["Decides", word(experiment.metrics[0] ?? "")],
    ["Guardrail", { none: "breaches are shown", pause: "a breach pauses it", control_only: "a breach gives new users the control" }[experiment.guardrail_action]],
    ...(experiment.guardrail_breach ? [["Breached", `${word(experiment.guardrail_breach.metric)} by ${experiment.guardrail_breach.variant}, ${moment(experiment.guardrail_breach.at)}`]] : []),
    ["Started", day(experiment.started_at)],
    ["Schedule", experiment.start_at || experiment.end_at ? `${day(experiment.start_at)} to ${day(experiment.end_at)}` : "none"],
  ];
  return (
    <Card title="Set up">
      <table><tbody>{lines.map(([name, text]) => <tr key={name}><th scope="row">{name}</th><td>{text}</td></tr>)}</tbody></table>
    </Card>
  );
}

function Results({ experiment, types }) {
  const live = useLive();
  const found = useResource((signal) => get(`/experiments/${part(experiment.id)}/results`, { signal }), `${experiment.id} ${experiment.version}`, live.lsn);
  return (
    <Loaded of={found}>
      {(results) => {
        const styles = variantStyles(results.variants);
        const said = verdict(results, experiment.metrics[0]);
        const { metrics } = experiment;
        return (
          <>
            <section class={`card verdict tone-${said.tone}`} aria-label="Verdict" aria-live="polite">
              <span class="sign" aria-hidden="true">{toneSign(said.tone)}</span>
              <p>{said.text}</p>
              <p class="note">{said.note}</p>
            </section>
            <Tiles results={results} />
            {results.warnings.length > 0 && <ul class="warnings" aria-label="Warnings">{results.warnings.map((text) => <li key={text}>{text}</li>)}</ul>}
            <Card title="Lift against control" tip="How much more (or less) of each metric than in control. An interval that does not touch zero is a difference.">
              <Forest results={results} metrics={metrics} name={experiment.key} />
            </Card>
            <Variants results={results} metrics={metrics} types={types} styles={styles} />
            <Series results={results} metrics={metrics} types={types} styles={styles} name={experiment.key} />
            {results.attributes.length > 0 && results.summary.total_users > 0 && <Groups experiment={experiment} attributes={results.attributes} types={types} />}
            <Numbers results={results} metrics={metrics} styles={styles} />
          </>
        );
      }}
    </Loaded>
  );
}

export function Experiment({ id }) {
  const live = useLive();
  const found = useResource(async (signal) => {
    const [experiment, metrics] = await Promise.all([get(`/experiments/${part(id)}`, { signal }), getAll("/metric-definitions?archived=true", "metric_definitions")]);
    return { experiment, types: new Map(metrics.map((metric) => [metric.name, metric])) };
  }, id, live.definitions);
  return (
    <Loaded of={found}>
      {({ experiment, types }) => (
        <>
          <header class="page-head">
            <div>
              <a class="crumb" href="#/experiments">Experiments</a>
              <div class="title-line"><h1>{experiment.name}</h1><Status status={experiment.status} /></div>
              <small><code>{experiment.key}</code> · version {experiment.version}{experiment.description && ` · ${experiment.description}`}</small>
            </div>
            <Controls experiment={experiment} onDone={found.reload} />
          </header>
          {experiment.metrics.length > 0 && <Results experiment={experiment} types={types} />}
          <div class="grid"><Setup experiment={experiment} /><History experiment={experiment} /></div>
        </>
      )}
    </Loaded>
  );
}
