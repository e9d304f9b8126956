/** Conditions as people type them, and as the API has them. */

const operators = ["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "exists", "not_exists", "contains", "starts_with", "ends_with", "matches"];
const versions = ["semver_gte", "semver_gt", "semver_lte", "semver_lt", "semver_eq"];

const words = {
  eq: "is", ne: "is not", in: "is one of", not_in: "is none of", gt: ">", gte: "≥", lt: "<", lte: "≤", exists: "is there", not_exists: "is missing",
  contains: "contains", starts_with: "starts with", ends_with: "ends with", matches: "matches (regex)",
  semver_gte: "version ≥", semver_gt: "version >", semver_lte: "version ≤", semver_lt: "version <", semver_eq: "version =",
};

export const operatorWord = (operator) => words[operator] ?? operator;
export const metricOperators = operators;
export const targetingOperators = [...operators, ...versions];
export const takesNothing = (operator) => operator === "exists" || operator === "not_exists";
const takesList = (operator) => operator === "in" || operator === "not_in";

/** Text that would be read as something else is shown in quotes. */
function textOf(value) {
  if (value === undefined) return "";
  return typeof value === "string" && valueOf(value) === value ? value : JSON.stringify(value);
}

/** A number, true, false, null or quoted text where it reads as one, else the text itself. */
export function valueOf(text) {
  if (!/^(-?\d+(\.\d+)?|true|false|null|".*")$/.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The right side of a condition, for an input. */
export const valueText = (condition) => (condition.values ? condition.values.map(textOf).join(", ") : textOf(condition.value));

/** A condition for the API. `name` is the member that says what is compared: attribute or property. */
export function conditionDocument(name, { [name]: what, op, text }) {
  if (takesNothing(op)) return { [name]: what, op };
  // Versions and patterns are text whatever they look like.
  const read = op.startsWith("semver") || op === "matches" ? (value) => value : valueOf;
  return takesList(op) ? { [name]: what, op, values: text.split(",").map((one) => read(one.trim())) } : { [name]: what, op, value: read(text) };
}

/** The tree of targeting rules as the editor keeps it: conditions with text, groups with kind and items. */
export function ruleForm(rule) {
  if (rule.all) return { kind: "all", items: rule.all.map(ruleForm) };
  if (rule.any) return { kind: "any", items: rule.any.map(ruleForm) };
  if (rule.not) return { kind: "not", items: [ruleForm(rule.not)] };
  return { attribute: rule.attribute, op: rule.op, text: valueText(rule) };
}

export function ruleDocument(rule) {
  if (!rule.kind) return conditionDocument("attribute", rule);
  const items = rule.items.map(ruleDocument);
  if (rule.kind !== "not") return { [rule.kind]: items };
  return { not: items.length === 1 ? items[0] : { all: items } };
}
