/** Plots as files: SVG for people, CSV for their tools. */

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

export const saveCsv = (name, rows) => save(name, "text/csv", rows.map((row) => row.map(cell).join(",")).join("\n") + "\n");

const kept = ["paint-order", "fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family", "font-weight", "text-anchor", "opacity"];

/** A drawing of the page with the style that it has there written into it. */
export function saveSvg(name, svg) {
  const copy = svg.cloneNode(true);
  const from = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, at) => {
    const style = getComputedStyle(from[at]);
    kept.forEach((property) => node.setAttribute(property, style.getPropertyValue(property)));
    node.removeAttribute("class");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  save(name, "image/svg+xml", copy.outerHTML);
}

const escape = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");

/** The same lines as a plot of plot.jsx shows, drawn as SVG on white. */
export function plotSvg({ title, days, lines, format }) {
  const [width, height, left, right, top, bottom] = [880, 400, 70, 20, 56, 40];
  const all = lines.flatMap((line) => [...line.values, ...(line.low ?? []), ...(line.high ?? [])]).filter((value) => value !== null);
  const least = Math.min(0, ...all);
  const most = Math.max(...all, least + 1e-9);
  const x = (at) => left + (days.length > 1 ? at / (days.length - 1) : 0.5) * (width - left - right);
  const y = (value) => top + ((most - value) / (most - least)) * (height - top - bottom);
  const points = (values) => values.map((value, at) => [at, value]).filter(([, value]) => value !== null)
    .map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  const ticks = Array.from({ length: 6 }, (_, step) => least + ((most - least) * step) / 5);
  const every = Math.max(1, Math.ceil(days.length / 8));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="#fff"/><text x="${left}" y="20" font-size="15" font-weight="600">${escape(title)}</text>
${ticks.map((tick) => `<path d="M${left} ${y(tick).toFixed(1)}H${width - right}" stroke="#ddd"/><text x="${left - 8}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end" fill="#555">${escape(format(tick))}</text>`).join("\n")}
${days.map((name, at) => (at % every ? "" : `<text x="${x(at).toFixed(1)}" y="${height - 14}" text-anchor="middle" fill="#555">${escape(name)}</text>`)).join("")}
${lines.map((line, at) => `${line.low ? `<polygon points="${[...points(line.high), ...points(line.low).reverse()].join(" ")}" fill="${line.colour}" fill-opacity="0.15"/>` : ""}
<polyline points="${points(line.values).join(" ")}" fill="none" stroke="${line.colour}" stroke-width="2" stroke-dasharray="${line.dash.join(" ")}"/>
<path d="M${left + at * 160} 38h22" stroke="${line.colour}" stroke-width="3" stroke-dasharray="${line.dash.join(" ")}"/><text x="${left + 28 + at * 160}" y="42">${escape(line.label)}</text>`).join("\n")}
</svg>`;
}
