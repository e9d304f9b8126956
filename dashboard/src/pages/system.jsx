import { get } from "../api.js";
import { bytes, duration, integer, moment, number, percent, short } from "../format.js";
import { useLive, useResource } from "../live.js";
import { useWidth, Card, Loaded, Tile } from "../ui.jsx";

/** Events a second over the last minute, as the stream tells. */
function Pulse({ rates }) {
  const [box, width] = useWidth();
  const height = 110;
  const most = Math.max(1, ...rates);
  const x = (at) => width - (rates.length - 1 - at) * (width / 59);
  const y = (rate) => height - 6 - (rate / most) * (height - 20);
  const line = rates.map((rate, at) => `${x(at).toFixed(1)} ${y(rate).toFixed(1)}`).join("L");
  return (
    <div ref={box} class="pulse">
      {width > 0 && (
        <svg width={width} height={height} role="img" aria-label={`Events a second, lately at most ${number(most)}`}>
          <path class="base" d={`M0 ${height - 6}H${width}`} />
          {rates.length > 1 && <><path class="area" d={`M${x(0)} ${height - 6}L${line}L${width} ${height - 6}Z`} /><path class="line" d={`M${line}`} /></>}
          <text x="2" y="13">{Math.max(0, ...rates) > 0 ? `at most ${short(most)} a second` : "no events in the last minute"}</text>
        </svg>
      )}
    </div>
  );
}

const words = { ok: ["✓ Healthy", "good"], read_only: ["Read only", "warn"], failed: ["! Failed", "bad"] };

/** GET /metrics as a table of what it counts. */
function counters(text) {
  const help = new Map();
  const rows = [];
  for (const line of text.split("\n")) {
    const told = /^# HELP (\S+) (.*)$/.exec(line);
    if (told) help.set(told[1], told[2]);
    const found = /^([a-z_]+)(\{[^}]*\})? (\S+)$/.exec(line);
    if (found) rows.push({ name: found[1] + (found[2] ?? ""), value: Number(found[3]), help: help.get(found[1]) ?? "" });
  }
  return rows;
}

export function System() {
  const live = useLive();
  const status = useResource((signal) => get("/status", { signal }), "status", live.status);
  const page = useResource((signal) => get("/metrics", { signal, text: true }), "metrics", live.status);
  const rate = live.rates.at(-1) ?? 0;
  return (
    <>
      <header class="page-head"><h1>System</h1></header>
      <Loaded of={status}>
        {(now) => {
          const [word, tone] = words[now.status] ?? [now.status, ""];
          const used = now.disk.total_bytes ? 1 - now.disk.free_bytes / now.disk.total_bytes : null;
          return (
            <>
              <dl class="tiles system-tiles">
                <Tile label="State" tip="ok: writes are acknowledged. read_only: they are refused, reads work. failed: the storage failed" value={word} tone={tone} note={`assay ${now.version}, up ${duration(now.uptime_seconds)}`} />
                <Tile label="Events a second" tip="Events that arrived in the last second" value={number(Math.round(rate * 10) / 10)} note={`${short(now.http.events_received)} since the start`} />
                <Tile label="Lag" tip="Records on the disk that no result shows yet; a request is answered when its own are in" value={integer(now.log.apply_lag)} note="records" />
                <Tile label="A flush takes" tip="Mean time of a write to the disk, with the flush that makes it durable" value={`${number(now.log.flush_us_mean / 1000)} ms`} note={`${short(now.log.blocks)} blocks written`} />
                <Tile label="Disk free" tip="Free space of the data directory's disk" value={bytes(now.disk.free_bytes)} note={`${percent(used, 0)} used`} />
                <Tile label="Memory" tip="Resident memory of the server" value={bytes(now.memory_bytes)} />
                <Tile label="Users" tip="Users the server knows" value={short(now.counts.users)} note={`${short(now.counts.assignments)} assignments`} />
                <Tile label="Events refused" tip="Events that broke a rule; their sender was told which" value={integer(now.http.events_rejected)} note={`${integer(now.counts.events_duplicate)} duplicates`} />
              </dl>
              <Card title="Ingest" tip="Events that arrive a second, over the last minute that this page was open"><Pulse rates={live.rates} /></Card>
              <div class="grid">
                <Card title="The log" tip="The log is the truth: everything else is computed from it">
                  <table><tbody>
                    {[["On the disk up to", integer(now.log.durable_lsn)], ["Applied up to", integer(now.log.applied_lsn)], ["Checkpoint at", integer(now.log.checkpoint_lsn)], ["Written", bytes(now.log.block_bytes)], ["Waiting", `${integer(now.log.commits_queued)} commits, ${bytes(now.log.commit_bytes_queued)}`], ["Written by", now.io_backend], ["Started", moment(now.started_at)]].map(([name, value]) => <tr key={name}><th scope="row">{name}</th><td class="right">{value}</td></tr>)}
                  </tbody></table>
                </Card>
                <Card title="Counters" tip="GET /metrics, as Prometheus reads it">
                  <Loaded of={page}>
                    {(text) => (
                      <div class="table tall" tabIndex={0} role="region" aria-label="Counters">
                        <table><tbody>{counters(text).map((row) => <tr key={row.name} data-tip={row.help}><td><code>{row.name}</code></td><td class="right">{number(row.value)}</td></tr>)}</tbody></table>
                      </div>
                    )}
                  </Loaded>
                </Card>
              </div>
            </>
          );
        }}
      </Loaded>
    </>
  );
}
