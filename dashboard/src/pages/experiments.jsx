import { useState } from "preact/hooks";
import { get, getAll, part } from "../api.js";
import { MiniForest } from "../forest.jsx";
import { ago, day, integer, percent, plural } from "../format.js";
import { useLive, useResource } from "../live.js";
import { variantStyles } from "../palette.js";
import { Choice, Empty, Loaded, Status, Verdict } from "../ui.jsx";
import { verdict } from "../verdict.js";

/** How the weights share the users, as a bar. */
export function Split({ variants, styles = variantStyles(variants) }) {
  const words = variants.map((variant) => `${variant.name} ${percent(variant.weight)}`).join(", ");
  return (
    <span class="split" role="img" aria-label={words} data-tip={words}>
      {variants.map((variant) => <i key={variant.name} style={{ flexGrow: variant.weight, background: styles.get(variant.name).colour }} />)}
    </span>
  );
}

function Row({ experiment }) {
  const live = useLive();
  const path = `/experiments/${part(experiment.id)}/results?group_by=variant`;
  const results = useResource((signal) => (experiment.status === "draft" ? null : get(path, { signal })), experiment.id + experiment.status, experiment.status === "draft" ? 0 : live.lsn);
  const found = results.data;
  return (
    <li>
      <a class="row card" href={`#/experiments/${part(experiment.key)}`}>
        <span class="row-name">
          <strong>{experiment.name}</strong>
          <small><code>{experiment.key}</code> · {experiment.started_at ? `since ${day(experiment.started_at)}` : `made ${ago(experiment.created_at)}`}</small>
        </span>
        <span class="row-status"><Status status={experiment.status} /></span>
        <span class="row-split"><Split variants={experiment.variants} /><small>{plural(experiment.variants.length, "variant")}</small></span>
        <span class="row-users" data-tip="Users who have a variant">{found ? <><b>{integer(found.summary.total_users)}</b> <small>users</small></> : <small>{experiment.status === "draft" ? "not started" : "–"}</small>}</span>
        <span class="row-forest">{found && <MiniForest results={found} metric={experiment.metrics[0]} />}</span>
        <span class="row-verdict">{found && <Verdict verdict={verdict(found, experiment.metrics[0])} />}</span>
      </a>
    </li>
  );
}

const filters = [["", "Open"], ["running", "Running"], ["draft", "Drafts"], ["completed", "Completed"], ["archived", "Archived"]];

export function Experiments() {
  const live = useLive();
  const [status, setStatus] = useState("");
  const [text, setText] = useState("");
  const list = useResource(() => getAll(`/experiments?q=${part(text)}${status ? `&status=${status}` : ""}`, "experiments"), `${status} ${text}`, live.definitions);
  return (
    <>
      <header class="page-head">
        <h1>Experiments</h1>
        <a class="button primary" href="#/experiments/new">New experiment</a>
      </header>
      <div class="bar">
        <Choice label="Which experiments" options={filters} value={status} onChange={setStatus} />
        <input type="search" aria-label="Search by name, key or description" placeholder="Search" value={text} onInput={(event) => setText(event.target.value)} />
      </div>
      <Loaded of={list}>
        {(experiments) => (experiments.length === 0
          ? <Empty title={text || status ? "Nothing fits" : "No experiment yet"}>{text || status ? "Try another filter." : "Make the first one: two variants and a metric are enough."}</Empty>
          : <ul class="rows">{experiments.map((experiment) => <Row key={experiment.id} experiment={experiment} />)}</ul>)}
      </Loaded>
    </>
  );
}
