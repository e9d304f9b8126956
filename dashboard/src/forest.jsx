/** Lifts with their intervals, a line a metric and variant: the forest plot, and its small sister for lists. */
import { useRef } from "preact/hooks";
import { saveCsv, saveSvg } from "./export.js";
import { signedPercent } from "./format.js";
import { variantStyles } from "./palette.js";
import { useWidth } from "./ui.jsx";
import { anytimeInterval, treatments, wantsMore, word } from "./verdict.js";

const isPair = (pair) => Array.isArray(pair) && pair.every((end) => typeof end === "number");

/** What there is to draw: a row a metric and variant. */
export function forestRows(results, metrics) {
  return metrics.flatMap((metric) => treatments(results).map((variant) => {
    const comparison = variant.metrics[metric]?.vs_control;
    return {
      metric, variant: variant.name, lift: comparison?.relative?.value ?? null,
      interval: isPair(comparison?.relative?.confidence_interval) ? comparison.relative.confidence_interval : null,
      anytime: anytimeInterval(comparison), wantsMore: wantsMore(results, metric),
      adjusted: comparison?.p_value_adjusted ?? null,
    };
  }));
}

/** Symmetric enough to be read, wide enough for every plain interval; what is wider is cut, with an arrow. */
function domainOf(rows) {
  const ends = rows.flatMap((row) => [...(row.interval ?? []), row.lift ?? 0]);
  const far = rows.flatMap((row) => row.anytime ?? []);
  const plain = Math.max(0.01, ...ends.map(Math.abs));
  const low = Math.max(Math.min(0, ...ends, ...far), -1.6 * plain);
  const high = Math.min(Math.max(0, ...ends, ...far), 1.6 * plain);
  const margin = Math.max(high - low, 0.02) * 0.05;
  return [low - margin, high + margin];
}

function ticksOf([low, high], count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return ticks;
}

export function Mark({ mark, x, y, size = 5.5, colour }) {
  const path = {
    diamond: `M${x} ${y - size * 1.25}L${x + size * 1.25} ${y}L${x} ${y + size * 1.25}L${x - size * 1.25} ${y}Z`,
    square: `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}Z`,
    triangle: `M${x} ${y - size * 1.2}L${x + size * 1.2} ${y + size}H${x - size * 1.2}Z`,
    bar: `M${x - size} ${y - 1.5}h${2 * size}v3h${-2 * size}Z`,
  }[mark];
  return path ? <path d={path} fill={colour} /> : <circle cx={x} cy={y} r={size} fill={colour} />;
}

/** A line from low to high, cut at the plot's edges. */
function Whisker({ pair, x, domain, y, colour, thick }) {
  const [low, high] = pair.map((end) => x(Math.min(Math.max(end, domain[0]), domain[1])));
  return (
    <g stroke={colour} fill="none" stroke-width={thick ? 7 : 1.6} stroke-linecap={thick ? "round" : "butt"} opacity={thick ? 0.38 : 1}>
      <path d={`M${low} ${y}H${high}`} />
      {!thick && (pair[0] < domain[0] ? <path d={`M${low + 6} ${y - 5}L${low} ${y}L${low + 6} ${y + 5}`} /> : <path d={`M${low} ${y - 5}v10`} />)}
      {!thick && (pair[1] > domain[1] ? <path d={`M${high - 6} ${y - 5}L${high} ${y}L${high - 6} ${y + 5}`} /> : <path d={`M${high} ${y - 5}v10`} />)}
    </g>
  );
}

const sentence = (row) => `${row.variant}, ${word(row.metric)}: ${signedPercent(row.lift)}` +
  (row.interval ? `, interval ${signedPercent(row.interval[0])} to ${signedPercent(row.interval[1])}` : "") +
  (row.anytime ? `, at any time ${signedPercent(row.anytime[0])} to ${signedPercent(row.anytime[1])}` : "");

export function Forest({ results, metrics, name }) {
  const [box, width] = useWidth();
  const svg = useRef(null);
  const rows = forestRows(results, metrics);
  const styles = variantStyles(results.variants);
  const domain = domainOf(rows);
  const isNarrow = width < 560;
  const [left, right] = isNarrow ? [6, 6] : [150, 170];
  const [rowHeight, headHeight] = isNarrow ? [50, 28] : [34, 32];
  const x = (value) => left + ((value - domain[0]) / (domain[1] - domain[0])) * (width - left - right);
  let y = 4;
  const placed = rows.map((row, at) => {
    const isFirst = at === 0 || rows[at - 1].metric !== row.metric;
    const head = isFirst ? y : null;
    y += (isFirst ? headHeight : 0) + rowHeight;
    return { ...row, head, y: y - rowHeight / 2 + (isNarrow ? 8 : 0) };
  });
  const height = y + 30;
  return (
    <figure class="plot" ref={box}>
      {width > 0 && (
        <svg ref={svg} class="forest" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`Lift against control. ${rows.map(sentence).join("; ")}`}>
          {ticksOf(domain, isNarrow ? 4 : 7).map((tick) => (
            <g key={tick}>
              <path class={tick === 0 ? "zero" : "grid"} d={`M${x(tick)} 8V${height - 22}`} />
              <text class="tick" x={x(tick)} y={height - 7} text-anchor="middle">{tick === 0 ? "0" : signedPercent(tick, Math.abs(tick) < 0.05 ? 1 : 0)}</text>
            </g>
          ))}
          {placed.map((row) => {
            const { colour, mark } = styles.get(row.variant);
            const textY = isNarrow ? row.y - 15 : row.y + 4;
            return (
              <g key={row.metric + row.variant} data-tip={sentence(row)}>
                {row.head !== null && <text class="group" x={0} y={row.head + 20}>{word(row.metric)}{row.wantsMore ? "" : " (less is better)"}</text>}
                <text class="label" x={isNarrow ? 0 : 8} y={textY}>{row.variant}</text>
                {row.anytime && <Whisker pair={row.anytime} x={x} domain={domain} y={row.y} colour={colour} />}
                {row.interval && <Whisker pair={row.interval} x={x} domain={domain} y={row.y} colour={colour} thick />}
                {row.lift !== null && <Mark mark={mark} x={x(row.lift)} y={row.y} colour={colour} />}
                <text class="figure" x={width} y={textY} text-anchor="end">
                  {row.lift === null ? "not known" : signedPercent(row.lift)}
                  {row.interval && <tspan class="faint"> {`  ${signedPercent(row.interval[0])} to ${signedPercent(row.interval[1])}`}</tspan>}
                </text>
              </g>
            );
          })}
        </svg>
      )}
      <figcaption>
        <span class="key"><svg width="26" height="10" aria-hidden="true"><path class="key-thick" d="M4 5h18" /></svg> {Math.round(results.summary.confidence_level * 100)}% interval for one planned look</span>
        <span class="key"><svg width="26" height="10" aria-hidden="true"><path class="key-thin" d="M1 5h24M1 1v8M25 1v8" /></svg> holds whenever you look</span>
        <span class="exports">
          <button type="button" class="link" onClick={() => saveSvg(`${name}-lift.svg`, svg.current)}>SVG</button>
          <button type="button" class="link" onClick={() => saveCsv(`${name}-lift.csv`, [
            ["metric", "variant", "lift", "low", "high", "anytime_low", "anytime_high", "p_value_adjusted"],
            ...rows.map((row) => [row.metric, row.variant, row.lift, ...(row.interval ?? [null, null]), ...(row.anytime ?? [null, null]), row.adjusted]),
          ])}>CSV</button>
        </span>
      </figcaption>
    </figure>
  );
}

/** One line a variant, for lists. */
export function MiniForest({ results, metric }) {
  const rows = forestRows(results, [metric]).filter((row) => row.lift !== null && row.interval !== null).slice(0, 4);
  if (rows.length === 0) return null;
  const styles = variantStyles(results.variants);
  const reach = Math.max(0.05, ...rows.flatMap((row) => row.interval.map((end) => Math.min(Math.abs(end), 3 * Math.abs(row.lift) + 0.2))));
  const x = (value) => 80 + (Math.min(Math.max(value, -reach), reach) / reach) * 76;
  const height = 12 * rows.length + 8;
  return (
    <svg class="mini" width="160" height={height} viewBox={`0 0 160 ${height}`} role="img" aria-label={rows.map(sentence).join("; ")} data-tip={rows.map(sentence).join("; ")}>
      <path class="zero" d={`M80 0V${height}`} />
      {rows.map((row, at) => {
        const { colour, mark } = styles.get(row.variant);
        const y = 10 + 12 * at;
        return (
          <g key={row.variant}>
            <path d={`M${x(row.interval[0])} ${y}H${x(row.interval[1])}`} stroke={colour} stroke-width="4" stroke-linecap="round" opacity="0.38" />
            <Mark mark={mark} x={x(row.lift)} y={y} size={3.4} colour={colour} />
          </g>
        );
      })}
    </svg>
  );
}
