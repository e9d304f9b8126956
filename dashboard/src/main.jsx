/** The frame around the pages: who is in, which page the address names, the menu. */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";
import { token, whenSignedOut } from "./api.js";
import { short } from "./format.js";
import { startLive, stopLive, useLive } from "./live.js";
import { installTips } from "./ui.jsx";
import { Login } from "./pages/login.jsx";
import { Experiments } from "./pages/experiments.jsx";
import { Experiment } from "./pages/experiment.jsx";
import { ExperimentForm } from "./pages/experiment_form.jsx";
import { Metrics, MetricForm } from "./pages/metrics.jsx";
import { Events } from "./pages/events.jsx";
import { Explain } from "./pages/explain.jsx";
import { Power } from "./pages/power.jsx";
import { Tokens } from "./pages/tokens.jsx";
import { System } from "./pages/system.jsx";

/** The first that fits; {x} is one piece of the address. */
const pages = [
  ["experiments", "Experiments", () => <Experiments />],
  ["experiments/new", "New experiment", () => <ExperimentForm />],
  ["experiments/{x}", "Experiment", (id) => <Experiment key={id} id={id} />],
  ["experiments/{x}/edit", "Edit experiment", (id) => <ExperimentForm key={id} id={id} />],
  ["metrics", "Metrics", () => <Metrics />],
  ["metrics/new", "New metric", () => <MetricForm />],
  ["metrics/{x}", "Metric", (name) => <MetricForm key={name} name={name} />],
  ["events", "Events", () => <Events />],
  ["explain", "Explain a user", () => <Explain />],
  ["power", "Power", () => <Power />],
  ["tokens", "Tokens", () => <Tokens />],
  ["system", "System", () => <System />],
];

const menu = [
  ["experiments", "Experiments", "M3 6h9M3 12h14M3 18h6M15 4v4M20 10v4M12 16v4"],
  ["metrics", "Metrics", "M4 20V10M10 20V4M16 20v-7M21 20H2"],
  ["events", "Events", "M3 12h4l3-8 4 16 3-8h4"],
  ["explain", "Explain", "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.8.4-1 .9-1 1.7M12 17v.5"],
  ["power", "Power", "M13 2L5 14h6l-1 8 9-13h-7z"],
  ["tokens", "Tokens", "M8 11a4 4 0 1 0 0 8a4 4 0 0 0 0-8M11 12l9-9M16 7l3 3"],
  ["system", "System", "M4 5h16v5H4zM4 14h16v5H4zM7 7.5h1M7 16.5h1"],
];

function match(address) {
  const pieces = address.split("?")[0].split("/").filter(Boolean);
  for (const [pattern, title, show] of pages) {
    const wanted = pattern.split("/");
    const fits = wanted.length === pieces.length && wanted.every((piece, at) => piece === "{x}" || piece === pieces[at]);
    if (fits) return { title, section: wanted[0], show: () => show(...pieces.filter((_, at) => wanted[at] === "{x}").map(decodeURIComponent)) };
  }
  return { title: "Not here", section: "", show: () => <p>There is no such page. <a href="#/experiments">To the experiments</a></p> };
}

const address = () => location.hash.replace(/^#\/?/, "") || "experiments";

function useAddress() {
  const [value, set] = useState(address());
  useEffect(() => {
    const update = () => set(address());
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return value;
}

const liveWords = {
  live: ["Live", "Connected: what changes on the server shows here at once"],
  connecting: ["Connecting", "Asking the server for its stream of changes"],
  reconnecting: ["Reconnecting", "The stream broke off: the numbers here may be old"],
  polling: ["Not live", "This token may not read results, so nothing is pushed here"],
};

function Live() {
  const live = useLive();
  const [text, tip] = liveWords[live.state];
  const rate = live.rates.at(-1) ?? 0;
  return (
    <p class={`live live-${live.state}`} data-tip={tip}>
      <i aria-hidden="true" /> {text}
      {live.state === "live" && <small>{short(rate)} events/s</small>}
    </p>
  );
}

function Frame({ onSignOut }) {
  const page = match(useAddress());
  useEffect(() => {
    document.title = `${page.title} · assay`;
    window.scrollTo(0, 0);
  }, [page.title]);
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>To the content</a>
      <header class="side">
        <a class="brand" href="#/experiments">
          <svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" /><path d="M6 11h14M10 21h16" /><circle cx="13" cy="11" r="3.6" /><circle class="second" cx="19" cy="21" r="3.6" /></svg>
          assay
        </a>
        <nav aria-label="Pages">
          {menu.map(([section, name, path]) => (
            <a key={section} href={`#/${section}`} aria-current={page.section === section ? "page" : undefined}>
              <svg viewBox="0 0 24 24" aria-hidden="true"><path d={path} /></svg>
              {name}
            </a>
          ))}
        </nav>
        <div class="foot">
          <Live />
          <a href="/docs" target="_blank" rel="noreferrer">API</a>
          <button type="button" class="link" onClick={onSignOut}>Sign out</button>
        </div>
      </header>
      <main id="main" tabIndex={-1}>{page.show()}</main>
    </div>
  );
}

function App() {
  const [signedIn, set] = useState(token.get() !== null);
  const [message, setMessage] = useState("");
  const signOut = (problem) => {
    stopLive();
    token.clear();
    setMessage(problem?.message ?? "");
    set(false);
  };
  useEffect(() => whenSignedOut(signOut), []);
  useEffect(() => { if (signedIn) startLive(); }, [signedIn]);
  return signedIn ? <Frame onSignOut={() => signOut()} /> : <Login message={message} onDone={() => set(true)} />;
}

installTips();
render(<App />, document.getElementById("app"));
