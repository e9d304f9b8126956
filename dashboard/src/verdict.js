/** What an experiment's results say, in words. */
import { integer, pValue, percent, plural, signedPercent } from "./format.js";

export const control = (results) => results.variants.find((variant) => variant.is_control);
export const treatments = (results) => results.variants.filter((variant) => !variant.is_control);

const isPair = (pair) => Array.isArray(pair) && pair.every((end) => typeof end === "number");

/**
 * The lift's interval that holds at any time. The server has such an interval of the difference alone, so the lift's plain interval is
 * widened, on the scale of its logarithm, by as much as that one is wider than the difference's plain one.
 */
export function anytimeInterval(comparison) {
  const { relative, absolute, sequential } = comparison ?? {};
  const known = isPair(relative?.confidence_interval) && isPair(absolute?.confidence_interval) && isPair(sequential?.confidence_interval);
  const width = (pair) => pair[1] - pair[0];
  if (!known || !(width(absolute.confidence_interval) > 0)) return null;
  const factor = Math.max(1, width(sequential.confidence_interval) / width(absolute.confidence_interval));
  const [low, high] = relative.confidence_interval;
  if (low <= -1) return [relative.value - factor * (relative.value - low), relative.value + factor * (high - relative.value)];
  const middle = Math.log1p(relative.value);
  return [low, high].map((end) => Math.expm1(middle + factor * (Math.log1p(end) - middle)));
}

/** Does more of the metric mean better? */
export const wantsMore = (results, metric) => control(results)?.metrics[metric]?.direction !== "decrease";

export const word = (metric) => metric.replace(/_/g, " ");

function significantSentence(results) {
  const { metric, variant, test } = results.statistical_significance;
  const found = results.variants.find((one) => one.name === variant);
  const comparison = found?.metrics[metric]?.vs_control;
  const lift = comparison?.relative;
  /* The interval that goes with the verdict. */
  const interval = test === "sequential" ? anytimeInterval(comparison) : lift?.confidence_interval;
  const name = control(results).name;
  const isUp = (lift?.value ?? 0) > 0;
  const isGood = isUp === wantsMore(results, metric);
  const between = isPair(interval) ? `, between ${signedPercent(interval[0])} and ${signedPercent(interval[1])}` : "";
  return {
    tone: isGood ? "good" : "bad",
    label: isGood ? "Winner" : "Harm",
    text: lift?.value === null || lift === undefined
      ? `${variant} differs from ${name} on ${word(metric)}.`
      : `${variant} ${isGood ? "beats" : "does worse than"} ${name}: ${word(metric)} is ` +
        `${percent(Math.abs(lift.value))} ${isUp ? "higher" : "lower"}${between}.`,
    note: test === "sequential"
      ? "The verdict holds however often you look; you need not wait for a planned end."
      : `Adjusted p-value ${pValue(results.statistical_significance.p_value_adjusted)}.`,
  };
}

function openSentence(results, metric) {
  const others = treatments(results);
  const detectable = others
    .map((variant) => variant.metrics[metric]?.vs_control?.minimum_detectable_effect)
    .filter((value) => typeof value === "number");
  const name = control(results)?.name ?? "control";
  const who = others.length === 1 ? `${others[0].name} and ${name}` : `${name} and the other variants`;
  return {
    tone: "open",
    label: "No difference yet",
    text: `No difference between ${who} on ${word(metric)} is certain so far.`,
    note: detectable.length > 0
      ? `With ${integer(results.summary.total_users)} users, a lift of ${percent(Math.max(...detectable))} or more would probably show.`
      : "",
  };
}

/** The metrics in which a variant is worse than its guardrail allows: [variant, metric] each. */
export const breaches = (results) => treatments(results).flatMap((variant) => Object.entries(variant.metrics)
  .filter(([, cell]) => cell.vs_control?.guardrail?.status === "breached")
  .map(([metric]) => [variant.name, metric]));

function breachSentence(results, found) {
  const [variant, metric] = found[0];
  const more = results.summary.status === "significant" && results.statistical_significance ? significantSentence(results) : null;
  const lift = results.variants.find((one) => one.name === variant).metrics[metric].vs_control.relative?.value;
  const by = typeof lift === "number" ? ` (${signedPercent(lift)})` : "";
  return {
    tone: "bad",
    label: "Guardrail",
    text: `${more ? `${more.text} But ` : ""}${variant} is worse on ${word(metric)}${by} than its guardrail allows.`,
    note: "A guardrail is what must not get worse. The breach holds at the confidence that you see below.",
  };
}

/**
 * One plain sentence, and a note beside it.
 * @returns {{tone: "good"|"bad"|"open"|"wait"|"broken", label: string, text: string, note: string}}
 */
export function verdict(results, metric) {
  const { status, total_users: users, srm } = results.summary;
  if (status === "srm") {
    return {
      tone: "broken",
      label: "Split broken",
      text: "No verdict: users do not split between the variants as the weights say.",
      note: `Such a split has p = ${pValue(srm?.p_value)} by chance. Find the cause before you believe any number here.`,
    };
  }
  const found = breaches(results);
  if (found.length > 0) return breachSentence(results, found);
  if (status === "significant" && results.statistical_significance) return significantSentence(results);
  if (status === "not_significant") return openSentence(results, metric);
  return {
    tone: "wait",
    label: "Too early",
    text: users === 0 ? "Nobody is in this experiment yet." : `Too early to tell: ${plural(users, "user")} so far.`,
    note: users === 0 ? "Users come in with their first assignment." : "A verdict needs some fifty users in each variant, and events of them.",
  };
}
