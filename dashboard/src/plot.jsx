/** Lines over days, with their intervals as bands: uPlot on the screen, SVG and CSV to take away. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { plotSvg, save, saveCsv } from "./export.js";
import { isDark, onScheme } from "./palette.js";
import { useWidth } from "./ui.jsx";

const seconds = (date) => Date.parse(date) / 1000;
const shortDay = (date) => new Date(date).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** The columns that uPlot wants: days, then for each line its value, high and low. */
function columns(days, lines) {
  return [days.map(seconds), ...lines.flatMap((line) => (line.low ? [line.values, line.high, line.low] : [line.values]))];
}

function seriesOf(lines, format) {
  const hidden = { show: true, stroke: "transparent", width: 0, points: { show: false }, label: "" };
  return [{}, ...lines.flatMap((line) => {
    const shown = {
      label: line.label, stroke: line.colour, width: 2.2, dash: line.dash.length ? line.dash : undefined,
      points: { show: line.values.filter((value) => value !== null).length < 3, size: 8, fill: line.colour },
      value: (_, value) => (value === null || value === undefined ? "–" : format(value)),
    };
    return line.low ? [shown, hidden, hidden] : [shown];
  })];
}

function bandsOf(lines) {
  const bands = [];
  let at = 1;
  for (const line of lines) {
    if (line.low) bands.push({ series: [at + 1, at + 2], fill: `${line.colour}26` });
    at += line.low ? 3 : 1;
  }
  return bands;
}

/** Keeps the wildest early intervals from pressing everything else flat. */
function rangeOf(lines) {
  const middle = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const ends = lines.flatMap((line) => [...(line.low ?? []), ...(line.high ?? [])]).filter((value) => value !== null);
  if (middle.length === 0) return [0, 1];
  const least = Math.min(0, ...middle);
  const most = Math.max(0, ...middle);
  const room = Math.max((most - least) * 0.6, 1e-9);
  const low = Math.max(Math.min(least, ...ends), least - room);
  const high = Math.min(Math.max(most, ...ends), most + room);
  const margin = (high - low) * 0.06;
  return [low < 0 ? low - margin : low, high + margin];
}

const heightOf = (width) => (width < 480 ? 220 : 290);

/** A single day stands in the middle. */
const daysOf = (days) => (days.length === 1 ? { time: true, range: [seconds(days[0]) - 86400, seconds(days[0]) + 86400] } : { time: true });

function options(width, days, lines, format) {
  const ink = isDark() ? "#9aa5b1" : "#5a6572";
  const grid = isDark() ? "#ffffff14" : "#00000010";
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width, height: heightOf(width), legend: { show: false }, padding: [12, 26, 0, 0],
    tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), "Etc/UTC"),
    cursor: { points: { size: 8 }, drag: { x: false, y: false } },
    scales: { x: daysOf(days), y: { range: () => rangeOf(lines) } },
    series: seriesOf(lines, format), bands: bandsOf(lines),
    axes: [
      { ...axis, space: 70, size: 34, values: (_, stamps) => stamps.map((stamp) => shortDay(stamp * 1000)), incrs: [86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400] },
      { ...axis, size: 62, values: (_, values) => values.map((value) => format(value)) },
    ],
    hooks: {
      drawAxes: [(plot) => {
        const zero = Math.round(plot.valToPos(0, "y", true));
        plot.ctx.fillStyle = ink;
        plot.ctx.fillRect(plot.bbox.left, zero, plot.bbox.width, 1);
      }],
    },
  };
}

/** Line samples with names, and the values at the cursor. */
function Legend({ days, lines, format, at }) {
  const index = at ?? days.length - 1;
  return (
    <div class="legend">
      <span class="legend-day">{days.length ? shortDay(days[index]) : ""}</span>
      {lines.map((line) => (
        <span key={line.label}>
          <svg width="26" height="10" aria-hidden="true"><path d="M1 5h24" stroke={line.colour} stroke-width="3" stroke-dasharray={line.dash.join(" ")} /></svg>
          {line.label} <b>{line.values[index] === null || line.values[index] === undefined ? "–" : format(line.values[index])}</b>
          {line.low && line.low[index] !== null && line.low[index] !== undefined && (
            <small> {format(line.low[index])} to {format(line.high[index])}</small>
          )}
        </span>
      ))}
    </div>
  );
}

/**
 * @param {{title: string, days: string[], lines: {label: string, colour: string, dash: number[], values: (number|null)[],
 *   low?: (number|null)[], high?: (number|null)[]}[], format: (value: number) => string, name: string}} props
 */
export function TimePlot({ title, days, lines, format, name }) {
  const [box, width] = useWidth();
  const holder = useRef(null);
  const drawn = useRef(null);
  const [at, setAt] = useState(null);
  const [scheme, setScheme] = useState(0);
  useEffect(() => onScheme(() => setScheme((old) => old + 1)), []);
  useLayoutEffect(() => {
    if (width === 0 || days.length === 0) return undefined;
    const settings = options(width, days, lines, format);
    settings.hooks.setCursor = [(plot) => setAt(plot.cursor.idx ?? null)];
    const plot = new uPlot(settings, columns(days, lines), holder.current);
    drawn.current = plot;
    return () => {
      drawn.current = null;
      plot.destroy();
    };
  }, [width > 0, scheme, title, JSON.stringify(lines), days.join()]);
  useLayoutEffect(() => {
    if (drawn.current !== null && width > 0) drawn.current.setSize({ width, height: heightOf(width) });
  }, [width]);
  const rows = () => [
    ["date", ...lines.flatMap((line) => (line.low ? [line.label, `${line.label} low`, `${line.label} high`] : [line.label]))],
    ...days.map((date, index) => [date, ...lines.flatMap((line) =>
      (line.low ? [line.values[index], line.low[index], line.high[index]] : [line.values[index]]))]),
  ];
  return (
    <figure class="plot" ref={box}>
      <Legend days={days} lines={lines} format={format} at={at !== null && at < days.length ? at : null} />
      <div ref={holder} role="img" aria-label={`${title}. The numbers are in the CSV.`} />
      <figcaption><span class="exports">
        <button type="button" class="link" onClick={() => save(`${name}.svg`, "image/svg+xml", plotSvg({ title, days: days.map(shortDay), lines, format }))}>SVG</button>
        <button type="button" class="link" onClick={() => saveCsv(`${name}.csv`, rows())}>CSV</button>
      </span></figcaption>
    </figure>
  );
}
